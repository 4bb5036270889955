"""The demo clip: a camera that pans and zooms over the two photos of people that ultralytics ships."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from engine.errors import SourceError
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.photos import read_photo
from engine.types import Float32Array, Frame, UInt8Array

SIZE_WH = (1280, 720)
FRAME_RATE = Fraction(30)

# One shot per photo, as keys (frame of the shot, centre x, centre y, height of the window), in px of the photo. The
# camera eases between keys. The shots are joined by a cut, because a cross-fade would show half-transparent people.
# Every window shows at least two whole people.
_SHOTS: tuple[tuple[str, tuple[tuple[int, float, float, float], ...]], ...] = (
    ("bus.jpg", ((0, 405, 590, 900), (20, 405, 590, 900), (80, 330, 640, 600), (149, 480, 640, 620))),
    ("zidane.jpg", ((0, 640, 360, 720), (20, 640, 360, 720), (95, 760, 325, 600), (149, 600, 380, 620))),
)


def photo_folder() -> Path:
    """The folder of the ultralytics package that holds its photos; the package itself is not imported.

    Raises:
        SourceError: the package is not installed.
    """
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            "the demo needs the two photos of the ultralytics package: python -m pip install --no-deps ultralytics"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "assets"


def _window(keys: tuple[tuple[int, float, float, float], ...], number: int) -> tuple[float, float, float]:
    """Centre x, centre y and height of the camera's window at a frame of a shot, eased between its keys."""
    for start, end in itertools.pairwise(keys):
        if number <= end[0]:
            t = (number - start[0]) / (end[0] - start[0])
            eased = t**3 * (t * (t * 6 - 15) + 10)  # speed and acceleration are continuous at the keys
            # Heights are interpolated logarithmically, so that the zoom looks even.
            height = float(np.exp(np.log(start[3]) + eased * (np.log(end[3]) - np.log(start[3]))))
            return start[1] + eased * (end[1] - start[1]), start[2] + eased * (end[2] - start[2]), height
    return keys[-1][1], keys[-1][2], keys[-1][3]


def _stage(photo: UInt8Array) -> tuple[UInt8Array, int]:
    """A photo on a 16:9 background of its own blurred, darkened colours, and the width added on each side in px.

    A portrait photo is narrower than the clip. The blur is so strong that no duplicate people show in the background.
    """
    height, width = photo.shape[:2]
    margin = max(0, round((height * SIZE_WH[0] / SIZE_WH[1] - width) / 2))
    if margin == 0:
        return photo, 0
    # Shrunk before the blur: the same background in a hundredth of the time.
    small = cv2.resize(photo, (max(1, width // 16), max(1, height // 16)), interpolation=cv2.INTER_AREA)
    tiny = cv2.resize(cv2.GaussianBlur(small, (0, 0), small.shape[1] / 8), (32, 18), interpolation=cv2.INTER_AREA)
    background = cv2.resize(tiny, (width + 2 * margin, height), interpolation=cv2.INTER_CUBIC).astype(np.float32) * 0.45
    stage = background.astype(np.uint8)
    stage[:, margin : margin + width] = photo
    return stage, margin


def _shoot(stage: UInt8Array, margin: int, window: tuple[float, float, float]) -> UInt8Array:
    """One frame, (720, 1280, 3) uint8 BGR: the window of the photo, shown at the size of the clip."""
    center_x, center_y, height = window
    scale = SIZE_WH[1] / height
    affine: Float32Array = np.array(
        [
            [scale, 0, SIZE_WH[0] / 2 - (center_x + margin) * scale],
            [0, scale, SIZE_WH[1] / 2 - center_y * scale],
        ],
        np.float32,
    )
    return np.ascontiguousarray(
        cv2.warpAffine(stage, affine, SIZE_WH, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


class DemoSource(FrameSource):
    """About ten seconds at 30 frames per second, identical every time."""

    def __init__(self) -> None:
        """Read the photos.

        Raises:
            SourceError: the ultralytics package or its photos are missing.
        """
        folder = photo_folder()
        self._stages = [(_stage(read_photo(folder / name)), keys) for name, keys in _SHOTS]
        super().__init__(
            SourceInfo(
                name="demo",
                kind="demo",
                size_wh=SIZE_WH,
                frame_rate=FRAME_RATE,
                time_base=1 / FRAME_RATE,
                frame_count=sum(keys[-1][0] + 1 for _, keys in _SHOTS),
            )
        )
        self._closed = False
        self._start = 0

    def seek(self, position_s: float) -> None:
        """The next iteration starts at the first frame at or after the position, else at the last frame."""
        last = (self._info.frame_count or 1) - 1
        self._start = min(last, max(0, math.ceil(position_s * float(FRAME_RATE) - 1e-6)))

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        for (stage, margin), keys in self._stages:
            for number in range(keys[-1][0] + 1):
                if self._closed:
                    return
                if index < self._start:
                    index += 1
                    continue
                image = _shoot(stage, margin, _window(keys, number))
                yield Frame(image_bgr=image, index=index, timestamp_s=float(index / FRAME_RATE), pts=index)
                index += 1

    def close(self) -> None:
        """Stop yielding frames."""
        self._closed = True
