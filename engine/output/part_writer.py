"""The base of what writes one output file, which has the part file's name until it is complete; the file object under
FFmpeg's muxer and under zip files, and the number of playable frames in an unfinished file."""

from __future__ import annotations

import abc
import contextlib
import io
from pathlib import Path
from typing import Any

import av

from engine.artifacts.part_file import PartFile
from engine.errors import OutputError


class PartWriter(abc.ABC):
    """Writes one file, frame by frame, under the part file's name until `commit`.

    Attributes:
        frames: how many were written; after `abort`, how many of them were kept.
    """

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self.frames = 0

    @abc.abstractmethod
    def finish(self) -> None:
        """Write what is buffered and close the file, which keeps its part name until `commit`.

        Raises:
            OutputError: the file cannot be written.
        """

    def commit(self) -> Path:
        """Give the finished file its final name.

        Raises:
            OutputError: it cannot be renamed; it is kept under its part name.
        """
        return self._part.commit()

    def abort(self) -> Path | None:
        """End after an error; returns the part file, which is closed and kept.

        None where it holds no frame (the part file is then removed) or the file already has its final name.
        """
        with contextlib.suppress(OSError, OutputError):  # on a full or missing disk only what was written remains
            self.finish()
        if not self._part.path.exists():
            return None
        self.frames = self._keep_whole_frames()
        if self.frames == 0:
            self._part.discard()
            return None
        return self._part.keep()

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._part.path}: {error.strerror or error}")

    def _keep_whole_frames(self) -> int:
        """Cut off what was written in part; returns the number of frames that remain."""
        return self.frames


class WholeWrites(io.FileIO):
    """A file that writes all data or raises, buffers nothing, and can be closed independently of who writes to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "r+")

    def write(self, data: Any) -> int:
        """Write all bytes."""
        left = memoryview(data)
        while left:
            left = left[super().write(left) :]
        return len(data)


def playable_frames(path: Path) -> int:
    """Number of playable frames in an unfinished file."""
    try:
        with av.open(f"file:{path}") as container:
            return sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(video=0))
    except (av.error.FFmpegError, OSError, IndexError):
        return 0
