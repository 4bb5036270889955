"""What travels between the threads of the window: frames, results with their origin, and what is told on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.skeleton import Skeleton
from engine.sources.frame_source import SourceInfo
from engine.types import Frame, FrameResult


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """A frame on its way to the screen.

    Attributes:
        frame: with an index and a time stamp that never go back, whatever the person does with the slider.
        captured_s: when it was captured or was due, on the clock of `time.monotonic()`.
        position_s: place in the file; 0 for live sources.
        serial: number of the source that it came from.
        epoch: goes up where the frame does not go on from the one before: after a jump, a loop, a lost signal.
    """

    frame: Frame
    captured_s: float
    position_s: float
    serial: int
    epoch: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A shot and what was found in it; `result` is None as long as no pipeline has seen it.

    `pipeline` is the serial of the one that has: ids of two pipelines have nothing to do with each other.
    """

    shot: Shot
    result: FrameResult | None = None
    skeleton: Skeleton | None = None
    pipeline: int = 0


@dataclass(frozen=True, kw_only=True)
class SourceOpened:
    """A source gave its first word."""

    serial: int
    text: str
    info: SourceInfo
    duration_s: float | None


@dataclass(frozen=True, kw_only=True)
class SourceFailed:
    """A source could not be opened or broke, and is given up."""

    serial: int
    text: str
    message: str


@dataclass(frozen=True, kw_only=True)
class SignalLost:
    """A live source went away and will be tried again."""

    serial: int
    message: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class SignalBack:
    """A live source came back by itself."""

    serial: int


@dataclass(frozen=True, kw_only=True)
class PlaybackChanged:
    """A file plays, stands, or has come to its end."""

    serial: int
    playing: bool
    at_end: bool = False


@dataclass(frozen=True, kw_only=True)
class PipelineProgress:
    """A line about what takes long while a pipeline is opened."""

    serial: int
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineReady:
    """A pipeline is open and waits for its first frame."""

    serial: int
    skeleton: Skeleton
    has_attention: bool
    description: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PipelineFailed:
    """A pipeline could not be opened, or failed while it ran; `message` is for a person."""

    serial: int
    message: str
    was_running: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Unexpected:
    """A fault of the program in one of its threads."""

    error: BaseException
    where: str
