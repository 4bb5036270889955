"""What every source of frames offers, whatever it reads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from engine.types import Frame

SourceKind = Literal["video", "photos", "camera", "stream", "demo"]

BT709, BT601 = 1, 6
"""Numbers of the H.273 colour matrices that this program writes (601 as SMPTE 170M)."""


@dataclass(frozen=True, kw_only=True)
class PictureTags:
    """How the pixels of a video are to be shown; an output carries the same, so that its colours match.

    Attributes:
        matrix: BT709 or BT601, the YUV matrix the frames were read with.
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
        name: short name to show to a person; never holds a password.
        kind: 'video', 'photos', 'camera', 'stream' or 'demo'.
        path: file or folder, where the source has one.
        size_wh: width and height of the upright frames in px, where all have the same.
        frame_rate: frames per second, exact; the mean for a variable rate; None where unknown.
        time_base: seconds of one unit of `Frame.pts`; None where frames have no time stamps.
        frame_count: number of frames, an estimate; None where unknown.
        is_live: frames come when they come: the newest counts and older ones are dropped.
        media: what PyAV opens to find the sound of this source; None where there is none to keep. May hold a
            password, so it is never shown.
        media_start_s: time on the clock of `media` that is time 0 of the frames, in seconds.
        tags: colours and shape of the pixels.
    """

    name: str
    kind: SourceKind
    path: Path | None = None
    size_wh: tuple[int, int] | None = None
    frame_rate: Fraction | None = None
    time_base: Fraction | None = None
    frame_count: int | None = None
    is_live: bool = False
    media: str | None = field(default=None, repr=False)
    media_start_s: Fraction = Fraction(0)
    tags: PictureTags = PictureTags()


@dataclass(frozen=True, kw_only=True)
class SignalLoss:
    """A live source gives nothing any more: why, in one line, and in how many seconds it is looked for again."""

    message: str
    retry_in_s: float


SignalListener = Callable[[SignalLoss | None], None]
"""Told of each try to find a lost source, and None when its pictures come again; in the thread that reads."""


class FrameSource(Protocol):
    """A source is opened, iterated once and closed; it is a context manager.

    Files drop nothing and keep order; live sources give the newest frame. Frames are upright and their image arrays
    belong to whoever receives them.
    """

    @property
    def info(self) -> SourceInfo:
        """What is known before reading."""

    @property
    def dropped_frames(self) -> int:
        """Frames of a live source that nobody took in time."""

    @property
    def unreadable_frames(self) -> int:
        """Frames or photos so far that could not be read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each thing that went wrong so far while reading went on."""

    def watch(self, listener: SignalListener) -> None:
        """Be told when a live source is lost and found again; others never are."""

    def frame_path(self, index: int) -> Path | None:
        """The photo that became the frame of this index; None for everything but photos."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order.

        Raises:
            SourceError: nothing more can be read although more should come.
        """

    def close(self) -> None:
        """Stop reading and free what is held; may be called twice and from another thread."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SourceBase:
    """What sources have in common: counts, notes and the context manager."""

    def __init__(self, info: SourceInfo) -> None:
        self._info = info
        self._unreadable = 0
        self._notes: list[str] = []
        self.tell: SignalListener = lambda _loss: None

    @property
    def info(self) -> SourceInfo:
        """What is known before reading."""
        return self._info

    @property
    def dropped_frames(self) -> int:
        """Files drop nothing."""
        return 0

    @property
    def unreadable_frames(self) -> int:
        """Frames or photos so far that could not be read."""
        return self._unreadable

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each thing that went wrong so far."""
        return tuple(self._notes)

    def watch(self, listener: SignalListener) -> None:
        """Be told when a live source is lost and found again."""
        self.tell = listener

    def frame_path(self, index: int) -> Path | None:
        """No frame is a file of its own."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
