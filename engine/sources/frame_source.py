"""The common base of all frame sources."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from engine.system.closing import Closing
from engine.types import Frame

SourceKind = Literal["video", "photos", "camera", "stream", "demo"]

BT709, BT601 = 1, 6
"""Numbers of the H.273 colour matrices that this program writes (601 as SMPTE 170M)."""


@dataclass(frozen=True, kw_only=True)
class PictureTags:
    """How the pixels of a video are to be displayed; an output has the same tags, so that its colours match.

    Attributes:
        matrix: BT709 or BT601, the YUV matrix that the frames were converted with.
        primaries: H.273 number of the colour primaries.
        transfer: H.273 number of the transfer characteristic.
        sample_aspect: width of one pixel over its height, for the upright picture.
    """

    matrix: int = BT709
    primaries: int = BT709
    transfer: int = BT709
    sample_aspect: Fraction = Fraction(1)


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What is known about a source before its frames are read.

    Attributes:
        name: short name to display; never contains a password.
        kind: 'video', 'photos', 'camera', 'stream' or 'demo'.
        path: file or folder, where the source has one.
        photos: those of a list that lies in no folder of its own.
        size_wh: width and height of the upright frames in px, where all have the same.
        frame_rate: frames per second, exact; the mean for a variable rate; None where unknown.
        time_base: seconds of one unit of `Frame.pts`; None where frames have no time stamps.
        frame_count: number of frames, an estimate; None where unknown.
        is_live: frames arrive in real time; only the newest is kept and older ones are dropped.
        read_once: a pipe, which cannot be opened a second time.
        media: file or URL that PyAV opens for the sound of this source; None where there is no sound to keep. May
            contain a password, so it is never displayed.
        media_start_s: time of frame time 0 on the clock of `media`, in seconds.
        tags: colours and shape of the pixels.
    """

    name: str
    kind: SourceKind
    path: Path | None = None
    photos: tuple[Path, ...] = ()
    size_wh: tuple[int, int] | None = None
    frame_rate: Fraction | None = None
    time_base: Fraction | None = None
    frame_count: int | None = None
    is_live: bool = False
    read_once: bool = False
    media: str | None = field(default=None, repr=False)
    media_start_s: Fraction = Fraction(0)
    tags: PictureTags = PictureTags()


@dataclass(frozen=True, kw_only=True)
class SignalLoss:
    """A live source was lost: the reason in one line, and the seconds until the next attempt to reconnect."""

    message: str
    retry_in_s: float


SignalListener = Callable[[SignalLoss | None], None]
"""Called before each attempt to reconnect, and with None when pictures arrive again; in the reading thread."""


class FrameSource(Closing):
    """A source is opened, iterated once and closed; it is a context manager.

    Files drop nothing and keep order; live sources yield the newest frame. Frames are upright, and the receiver owns
    their image arrays.
    """

    def __init__(self, info: SourceInfo) -> None:
        self._info = info
        self._unreadable = 0
        self._notes: list[str] = []
        self.notify: SignalListener = lambda _loss: None

    @property
    def info(self) -> SourceInfo:
        """What is known before reading."""
        return self._info

    @property
    def dropped_frames(self) -> int:
        """Frames of a live source that newer ones replaced before they were read; files drop nothing."""
        return 0

    @property
    def unreadable_frames(self) -> int:
        """Frames or photos so far that could not be read."""
        return self._unreadable

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each problem so far that did not stop the reading."""
        return tuple(self._notes)

    def watch(self, listener: SignalListener) -> None:
        """Set the listener for loss and reconnection of a live source; other sources never call it."""
        self.notify = listener

    def frame_path(self, index: int) -> Path | None:
        """The photo of the frame with this index; None for everything but photos."""
        return None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Frames in order.

        Raises:
            SourceError: reading failed before the end of the source.
        """

    def close(self) -> None:
        """Stop reading and release all resources; may be called twice and from another thread."""
