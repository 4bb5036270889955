"""The file object under FFmpeg's muxer and under zip files, and the number of playable frames in an unfinished file."""

from __future__ import annotations

from pathlib import Path

import av


class WholeWrites:
    """A file that writes all data or raises, buffers nothing, and can be closed independently of who writes to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Write all bytes."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Current position."""
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is buffered."""

    def truncate(self, size: int) -> None:
        """Cut the file off."""
        self._file.truncate(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def playable_frames(path: Path) -> int:
    """Number of playable frames in an unfinished file."""
    try:
        with av.open(f"file:{path}") as container:
            return sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(video=0))
    except (av.error.FFmpegError, OSError, IndexError):
        return 0
