"""What a pipeline is asked for: a frozen list of choices, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.artifacts.model_files import default_person_threshold, default_score_threshold
from engine.backends import BACKENDS, OpenOptions
from engine.detection.schedule import DetectEvery
from engine.errors import OptionError, nearest_hint
from engine.tracking.tracker import DEFAULT_TRACKER, check_tracker


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """What to run and where; names of models and classes are looked up when the pipeline is opened.

    Attributes:
        pose_model: name or file of the pose network; None for the one in `models/weights/default.json`.
        detector: name or file of the detector; None for the default one.
        backend, precision, device: for the pose network, see `open_pose_backend`; the detector follows where it can.
        score_threshold: boxes with a lower score are left out.
        person_threshold: people of whom box and keypoints are less certain are left out, see person_filter.py.
        max_people: most people that are posed in a frame.
        classes: names or numbers of the classes to detect, with commas between them; None for those that the pose
            network poses.
        want_areas, want_attention: whether results carry these maps.
        download: whether a missing detector may be fetched.
        tracking: whether people carry ids from frame to frame.
        tracker: by which method, one of TRACKERS.
        smoothing: whether keypoints are smoothed over time; it needs the ids, so without tracking there is none.
        detect_every: run the detector on every so many frames; between them boxes follow the keypoints. "auto" looks
            as seldom as the scene allows.
        threads: processor threads of the networks; None for all there are.
        overlapping: the stages will run at the same time (files), so that the networks share the processor.
    """

    pose_model: str | None = None
    detector: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    score_threshold: float = field(default_factory=default_score_threshold)
    person_threshold: float = field(default_factory=default_person_threshold)
    max_people: int = 16
    classes: str | None = None
    want_areas: bool = False
    want_attention: bool = False
    download: bool = False
    tracking: bool = True
    tracker: str = DEFAULT_TRACKER
    smoothing: bool = True
    detect_every: DetectEvery = "auto"
    threads: int | None = None
    overlapping: bool = False

    def __post_init__(self) -> None:
        if self.backend not in ("auto", *BACKENDS):
            raise OptionError(f"unknown backend '{self.backend}'.{nearest_hint(self.backend, ('auto', *BACKENDS))}")
        OpenOptions(precision=self.precision, device=self.device, threads=self.threads)  # checks them
        for name in ("score_threshold", "person_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"the {name.replace('_', ' ')} {getattr(self, name)} is not between 0 and 1")
        if self.max_people < 1:
            raise OptionError(f"at most {self.max_people} people in a frame makes no sense; 1 or more fits")
        check_tracker(self.tracker)
        check_detect_every(self.detect_every)


def check_detect_every(value: object) -> None:
    """Refuse what is neither "auto" nor a whole number of frames.

    Raises:
        OptionError: it is not; the message says what was found.
    """
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return
    raise OptionError(f"detection every {value!r} frames makes no sense; 1 or more, or 'auto', fits")
