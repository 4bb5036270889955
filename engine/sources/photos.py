"""Photos, one or a folder of them: read upright as 8-bit BGR, and written."""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.errors import OutputError, SourceError
from engine.sources.decoded_picture import on_white
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.photo_format import orientation, picture_count, size_wh
from engine.system.console import lead_nowhere
from engine.system.regular_file import read_regular
from engine.types import Frame, UInt8Array

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".avif")
"""Lower-case suffixes that are read as photos."""

WRITABLE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Lower-case suffixes that photos can be written with."""

_JPEG_QUALITY = 95
_MOST_BYTES = 2**31 - 1  # of a decoded picture: OpenCV counts them in 32 bits
_LONGEST_SIDE = 32_767  # and places in a picture in 16


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Case-insensitive sort key that puts `photo2` before `photo10`."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _to_8_bit(image: Any) -> UInt8Array:
    """Scale 16-bit and floating-point samples (floats range from 0 to 1) to 0..255."""
    if image.dtype == np.uint16:
        image = image >> 8
    elif image.dtype != np.uint8:
        image = np.clip(np.nan_to_num(image.astype(np.float32)) * 255 + 0.5, 0, 255)
    small: UInt8Array = image.astype(np.uint8, copy=False)
    return small


def decode_photo(data: UInt8Array) -> UInt8Array | None:
    """Decode the bytes of a photo to (H, W, 3) uint8 BGR, upright; None where they are not a photo.

    Orientation is applied, transparent parts are blended onto white, grey becomes three channels.
    """
    content = data.tobytes()
    try:
        with _without_messages():
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            if image is None:
                return None
            turn = orientation(content)
            if image.ndim == 2 or image.shape[2] != 4:
                deep = image.dtype not in (np.uint8, np.uint16)
                # OpenCV applies the EXIF orientation only when it reads in colour; here it is applied below.
                mode = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if deep else 0)
                image = cv2.imdecode(data, mode | (cv2.IMREAD_IGNORE_ORIENTATION if turn != 1 else 0))
                return None if image is None else np.ascontiguousarray(turned(_to_8_bit(image), turn))
    except cv2.error:  # broken headers and pictures beyond OpenCV's size limit
        return None
    return turned(on_white(_to_8_bit(image)), turn)


def turned(image: UInt8Array, orientation: int) -> UInt8Array:
    """An image (H, W, 3) as an EXIF orientation, 1 to 8, says that it is to be shown."""
    if orientation >= 5:
        image = np.asarray(cv2.transpose(image), np.uint8)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    return np.asarray(cv2.flip(image, flips[orientation]), np.uint8) if orientation in flips else image


_MESSAGES = threading.Lock()


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Keep OpenCV and the libraries under it from writing to stderr of damaged photos; our own line suffices."""
    with _MESSAGES:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        kept = None
        with contextlib.suppress(OSError):  # a process without stderr
            kept = os.dup(2)
            lead_nowhere(2)
        try:
            yield
        finally:
            if kept is not None:
                os.dup2(kept, 2)
                os.close(kept)
            cv2.utils.logging.setLogLevel(level)


def read_photo(path: Path) -> UInt8Array:
    """Read a photo as (H, W, 3) uint8 BGR, upright.

    Raises:
        SourceError: the file cannot be read or is not a photo.
    """
    try:
        # Read by Python, because OpenCV cannot open every non-ASCII path on every system.
        data = np.frombuffer(read_regular(path), np.uint8)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) == 0:
        raise SourceError(f"{path} is empty (0 bytes): expected a photo")
    stated = size_wh(data.tobytes())
    _check_size(path, stated)
    image = decode_photo(data)
    if image is not None and stated is None:
        _check_size(path, (image.shape[1], image.shape[0]))
    if image is None:
        raise SourceError(f"{path} is not a photo that can be read: expected JPEG, PNG or another picture format")
    return image


def _check_size(path: Path, size_wh: tuple[int, int] | None) -> None:
    """Refuse a photo that OpenCV cannot scale or crop: it would end the process."""
    width, height = size_wh or (0, 0)
    if width * height * 3 > _MOST_BYTES or max(width, height) > _LONGEST_SIDE:
        raise SourceError(
            f"{path} is too large: {width}x{height} px; up to {_LONGEST_SIDE} px on a side and {_MOST_BYTES / 3e6:.0f}"
            " megapixels are read"
        )


def write_photo(path: Path, image_bgr: UInt8Array, suffix: str) -> None:
    """Write (H, W, 3) uint8 BGR to `path`, which may be non-ASCII, in the format of `suffix`.

    Raises:
        OutputError: the file cannot be written, or the format cannot hold the picture.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix.lower() in (".jpg", ".jpeg") else []
    try:
        done, data = cv2.imencode(suffix, image_bgr, quality)
    except cv2.error as error:
        raise OutputError(f"cannot make a {suffix} picture of {image_bgr.shape[1]}x{image_bgr.shape[0]} px") from error
    if not done:
        raise OutputError(f"cannot make a {suffix} picture of {image_bgr.shape[1]}x{image_bgr.shape[0]} px")
    try:
        with path.open("wb") as file:
            file.write(data.tobytes())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def photos_in(folder: Path) -> list[Path]:
    """Photos of a folder (not of its sub-folders) in natural order, without hidden files.

    Raises:
        SourceError: there are none, or the folder cannot be read.
    """
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    photos = [entry for entry in entries if entry.suffix.lower() in PHOTO_SUFFIXES and entry.is_file()]
    if not photos:
        found = f"{len(entries)} other file(s)" if entries else "nothing"
        raise SourceError(f"no photos in the folder {folder}: expected files such as .jpg or .png, found {found}")
    return sorted(photos, key=natural_key)


class PhotoSource(FrameSource):
    """One photo or several; the readable photos are the frames, one second apart."""

    def __init__(self, paths: Sequence[Path], *, name: str, path: Path | None = None) -> None:
        """Take photos in the given order; `path` is the photo or the folder of all, None for a list from anywhere.

        Raises:
            SourceError: there is only one photo and it cannot be read.
        """
        self._paths = list(paths)
        # A single photo is read at once, so that a wrong file is refused before a model is loaded.
        self._first = read_photo(self._paths[0]) if len(self._paths) == 1 else None
        size_wh = None if self._first is None else (self._first.shape[1], self._first.shape[0])
        photos = tuple(self._paths) if path is None else ()
        super().__init__(
            SourceInfo(
                name=name, kind="photos", path=path, photos=photos, size_wh=size_wh, frame_count=len(self._paths)
            )
        )
        self._read: dict[int, Path] = {}  # by the number of the frame
        self._closed = self._sought = False
        self._start = 0
        self._noted: set[Path] = set()

    def frame_path(self, index: int) -> Path | None:
        """The photo of the frame with this index."""
        return self._read.get(index)

    def seek(self, position_s: float) -> None:
        """The next iteration starts at the photo in this place of the list, from 0, or at the last one before the end.

        Afterwards photos are numbered by their places, because how many before them can be read is not known.
        """
        self._start = min(len(self._paths) - 1, max(0, math.ceil(position_s - 1e-6)))
        self._sought = True

    def __iter__(self) -> Iterator[Frame]:
        start = self._start
        found = 0
        for place in range(start, len(self._paths)):
            frame = self._frame(place)
            if self._closed:
                return
            if frame is not None:
                found += 1
                yield frame
        for place in reversed(range(start if not found else 0)):  # none that can be read from there on
            frame = self._frame(place)
            if frame is not None:
                yield frame
                return
        if not self._read and not self._closed:
            where = "" if self._info.path is None else f" in {self._info.path}"
            raise SourceError(f"none of the {len(self._paths)} photos{where} can be read")

    def _frame(self, place: int) -> Frame | None:
        """The photo in a place of the list; None if it cannot be read."""
        path = self._paths[place]
        try:
            image, self._first = (self._first if self._first is not None else read_photo(path)), None
        except SourceError as error:
            if path not in self._noted:
                self._unreadable += 1
                self._notes.append(f"skipped: {error}")
                self._noted.add(path)
            return None
        index = place if self._sought else len(self._read)
        self._read[index] = path
        count = self._count_of(path)
        if count > 1 and path not in self._noted:
            self._notes.append(f"{path}: the first of its {count} pictures; the others (animation, pages) are left out")
            self._noted.add(path)
        return Frame(image_bgr=image, index=index, timestamp_s=float(index), is_still=True)

    @staticmethod
    def _count_of(path: Path) -> int:
        try:
            return picture_count(read_regular(path))
        except OSError:  # removed meanwhile
            return 1

    def close(self) -> None:
        """Stop yielding photos."""
        self._closed = True
