"""The options of a pipeline: those of the program that choose what runs, with every default resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from engine.artifacts.model_files import default_person_threshold, default_score_threshold
from engine.backends import OpenOptions
from engine.detection.given_boxes import NO_DETECTOR
from engine.errors import OptionError, nearest_hint
from engine.option_table import check_options, metadata_of, options_of
from engine.options import BACKENDS, DetectEvery, PoseOptions
from engine.tracking.tracker import check_tracker


@dataclass(frozen=True, kw_only=True)
class PipelineOptions(PoseOptions):
    """What to run and where (see the table in engine/options.py), and what depends on the use.

    Names of models and classes are looked up when the pipeline is opened.

    Attributes:
        score_threshold, person_threshold: unless given, those that suit the shipped networks.
        detect_every: "auto" runs the detector as seldom as the scene allows.
        want_areas, want_attention: whether results carry these maps.
        overlapping: the stages will run at the same time (files), so that the networks share the CPU.
    """

    score_threshold: float = field(
        default_factory=default_score_threshold, metadata=metadata_of(PoseOptions, "score_threshold")
    )
    person_threshold: float = field(
        default_factory=default_person_threshold, metadata=metadata_of(PoseOptions, "person_threshold")
    )
    detect_every: DetectEvery = field(default="auto", metadata=metadata_of(PoseOptions, "detect_every"))
    want_areas: bool = False
    want_attention: bool = False
    overlapping: bool = False

    def __post_init__(self) -> None:
        if self.backend not in ("auto", *BACKENDS):
            raise OptionError(f"unknown backend '{self.backend}'.{nearest_hint(self.backend, ('auto', *BACKENDS))}")
        OpenOptions(precision=self.precision, device=self.device, threads=self.threads)  # checks them
        if self.boxes is not None and self.detector is not None:
            raise OptionError("--boxes and --detector both give the boxes; leave one of them out")
        if self.count is not None and not self.tracking:
            raise OptionError("--count counts by person, which needs ids: leave --no-tracking out")
        if isinstance(self.follow, int) and not self.tracking:
            raise OptionError(
                f"--follow {self.follow} names an id: leave --no-tracking out, or follow largest or centre"
            )
        check_options(self)
        check_tracker(self.tracker)
        every = self.detect_every
        if every != "auto" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise OptionError(f"detection every {every!r} frames makes no sense; expected 1 or more, or 'auto'")

    @classmethod
    def of(cls, options: PoseOptions, *, live: bool = True, still: bool = False, **decided: Any) -> Self:
        """The options for a source, with open values resolved by its kind.

        A file can wait for a detector that runs on every frame; a camera cannot. Photos are independent of each other.

        Args:
            live: whether the source is a camera or a stream.
            still: whether it is photos.
            decided: values of fields, by name, that the caller sets.
        """
        values = {item.name: getattr(options, item.name) for item in options_of(cls)}
        values["detect_every"] = options.detect_every or ("auto" if live else 1)
        values["overlapping"] = not live and options.threads != 1
        if still:
            # Ids and counts would mean nothing; who names one for photos is told by `check_still`.
            follow = None if isinstance(options.follow, int) else options.follow
            values |= {"tracking": False, "smoothing": False, "detect_every": 1, "count": None, "follow": follow}
        if options.boxes is not None or options.detector == NO_DETECTOR:
            # Nothing is to be found or doubted: boxes are given for each frame, and every one of them is posed.
            values["detect_every"] = 1
            values["person_threshold"] = options.person_threshold or 0.0
        values |= decided
        return cls(**{name: value for name, value in values.items() if value is not None})


def check_still(options: PoseOptions) -> None:
    """Refuse what photos cannot have.

    Raises:
        OptionError: an id is followed or something is counted.
    """
    for flag, given in (("--count", options.count is not None), ("--follow ID", isinstance(options.follow, int))):
        if given:
            raise OptionError(f"photos do not follow each other, so {flag} has no meaning for them")
