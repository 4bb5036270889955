"""Seeking in a video and in the demo, without reopening it."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts.part_file import PartFile
from engine.output.video_writer import VideoWriter
from engine.sources.demo import DemoSource
from engine.sources.frame_source import SourceInfo
from engine.sources.opening import open_source
from engine.sources.video import VideoSource

FRAMES, RATE, BITS = 90, 30, 7


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds in which the bars of a frame encode its number; a key frame every second."""
    path = tmp_path_factory.mktemp("clip") / "bars.mp4"
    info = SourceInfo(name="bars", kind="video", frame_rate=Fraction(RATE), time_base=Fraction(1, RATE))
    writer = VideoWriter(PartFile(path), info)
    for number in range(FRAMES):
        bits = [255 * (number >> bit & 1) for bit in range(BITS)]
        writer.write(np.tile(np.repeat(np.array(bits, np.uint8), 16)[None, :, None], (48, 1, 3)), number)
    writer.finish()
    return writer.commit()


def number_of(image: np.ndarray) -> int:
    return sum((int(image[24, 16 * bit + 8].mean()) > 128) << bit for bit in range(BITS))


@pytest.mark.parametrize("number", [0, 1, 29, 30, 31, 62, 89])
def test_a_video_continues_from_the_sought_frame(clip: Path, number: int) -> None:
    with open_source(str(clip)) as source:
        assert isinstance(source, VideoSource)
        assert [frame.index for frame in islice(source, 5)] == [0, 1, 2, 3, 4]
        source.seek(number / RATE)
        frames = list(islice(source, 3))
        expected = list(range(number, min(number + 3, FRAMES)))
        assert [number_of(frame.image_bgr) for frame in frames] == expected
        assert [frame.index for frame in frames] == expected
        assert frames[0].timestamp_s == pytest.approx(number / RATE, abs=1e-6)


def test_between_two_frames_the_later_one_comes(clip: Path) -> None:
    with open_source(str(clip)) as source:
        assert isinstance(source, VideoSource)
        source.seek(44.5 / RATE)
        assert number_of(next(iter(source)).image_bgr) == 45


def test_beyond_the_end_the_last_frame_is_read_and_none_counts_as_lost(clip: Path) -> None:
    with open_source(str(clip)) as source:
        assert isinstance(source, VideoSource)
        assert len(list(source)) == FRAMES
        source.seek(60.0)
        assert [number_of(frame.image_bgr) for frame in source] == [FRAMES - 1]
        source.seek(0.0)
        assert len(list(source)) == FRAMES
        assert source.unreadable_frames == 0


def test_the_demo_continues_from_the_sought_frame(photo_paths: list[Path]) -> None:
    assert photo_paths
    with DemoSource() as whole, DemoSource() as source:
        source.seek(0.1)
        sought = next(iter(source))
        assert sought.index == 3
        np.testing.assert_array_equal(sought.image_bgr, list(islice(whole, 4))[3].image_bgr)
        source.seek(1000.0)
        assert len(list(source)) == 1
