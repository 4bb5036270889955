"""The data exchanged between the threads of the window: frames, results with their origin, and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from engine.skeleton import Skeleton
from engine.sources.frame_source import SourceInfo
from engine.types import Float32Array, Frame, FrameResult, Poses


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """A frame on its way to the screen.

    Attributes:
        frame: with an index and a time stamp that only increase, also when the user seeks backwards.
        captured_s: when it was captured (live) or due (file), on the clock of `time.monotonic()`.
        position_s: position in the file; 0 for live sources.
        serial: number of the source that it came from.
        number: of the frame in the file, from 0; 0 for live sources.
        name: of a photo's file; empty for others.
        epoch: increases where a frame does not follow the one before: after a seek, a loop, a lost signal.
        is_live: from a camera or a stream, which has no positions.
    """

    frame: Frame
    captured_s: float
    position_s: float
    serial: int
    number: int = 0
    name: str = ""
    epoch: int = 0
    is_live: bool = False

    @property
    def place(self) -> tuple[int, float]:
        """Number and seconds of the frame, in its file where it has one."""
        return (self.frame.index, self.frame.timestamp_s) if self.is_live else (self.number, self.position_s)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A shot and the poses in it; `result` is None if no pipeline has processed it.

    `pipeline` is the serial number of the one that has. The next one continues the ids where boxes overlap only.
    """

    shot: Shot
    result: FrameResult | None = None
    skeleton: Skeleton | None = None
    pipeline: int = 0

    @property
    def poses(self) -> Poses | None:
        """The people; None without a result."""
        return None if self.result is None else self.result.poses

    def maps(self, kind: Literal["areas", "attention"]) -> Float32Array | None:
        """The areas G or the attention S (N, K, h, w) of the people; None where there are none."""
        maps = None if self.result is None else self.result.attention
        return None if maps is None else maps.areas if kind == "areas" else maps.attention


@dataclass(frozen=True, kw_only=True)
class SourceOpened:
    """A source is open."""

    serial: int
    text: str
    info: SourceInfo
    duration_s: float | None


@dataclass(frozen=True, kw_only=True)
class SourceFailed:
    """A source could not be opened, or failed and is not tried again."""

    serial: int
    text: str
    message: str


@dataclass(frozen=True, kw_only=True)
class SignalLost:
    """A live source was lost and will be reconnected."""

    serial: int
    message: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class SignalBack:
    """A live source is reconnected."""

    serial: int


@dataclass(frozen=True, kw_only=True)
class PlaybackChanged:
    """A file plays, or is paused or at its end."""

    serial: int
    playing: bool


@dataclass(frozen=True, kw_only=True)
class PipelineProgress:
    """Progress of a pipeline that is being opened."""

    serial: int
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineReady:
    """A pipeline is open and can take frames."""

    serial: int
    skeleton: Skeleton
    has_attention: bool
    description: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PipelineFailed:
    """A pipeline could not be opened, or failed while it ran; `message` is for the user."""

    serial: int
    message: str


@dataclass(frozen=True, kw_only=True)
class PersonLost:
    """The person who was followed was not found again; everybody is posed from now on."""

    serial: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Unexpected:
    """A bug: an unhandled exception in one of the threads."""

    error: BaseException
    where: str
