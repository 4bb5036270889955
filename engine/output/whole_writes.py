"""The file under FFmpeg's muxer, and what of it plays when it was not written to its end."""

from __future__ import annotations

from pathlib import Path

import av


class WholeWrites:
    """The file that FFmpeg writes to: takes all of what it is given or fails, and can be closed without FFmpeg."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Write all of it."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it stands."""
        return self._file.tell()

    def close(self) -> None:
        """Take no more."""
        self._file.close()


def playable_frames(path: Path) -> int:
    """How many frames a file holds that was not written to its end."""
    try:
        with av.open(f"file:{path}") as container:
            return sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(video=0))
    except (av.error.FFmpegError, OSError, IndexError):
        return 0
