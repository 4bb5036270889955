"""What the record button writes, when it begins and ends, and how its files are named."""

from __future__ import annotations

import string
import time
from dataclasses import dataclass, field

from engine.errors import OptionError, nearest_hint
from engine.option_table import Control, Place, check_options, described, option

_REMEMBERED = Place.PANEL | Place.SETTINGS
_FIELDS = ("source", "date", "time")
_NOT_IN_NAMES = set('/\\:*?"<>|')


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """What is recorded together: the same frames stand in all files.

    Attributes:
        overlay: a video of what the window shows.
        raw: a video of the frames as they came.
        poses: JSON lines, whose frame numbers are those of the videos.
        delay: seconds from the button to the first frame; None for at once.
        duration: seconds until it stops by itself; None for until the button.
        pattern: name of the files without their endings; {source}, {date} and {time} are filled in.
    """

    overlay: bool = option(True, places=_REMEMBERED, control=Control(label="Video with the overlay"))
    raw: bool = option(False, places=_REMEMBERED, control=Control(label="Raw video"))
    poses: bool = option(False, places=_REMEMBERED, control=Control(label="Poses (JSON lines)"))
    delay: float | None = option(
        None, read=float, places=_REMEMBERED, control=Control(label="Start after", none="at once", seconds=True)
    )
    duration: float | None = option(
        None,
        read=float,
        places=_REMEMBERED,
        control=Control(label="Stop after", none="until it is stopped", seconds=True),
    )
    pattern: str = field(
        default="{source}_{date}_{time}",
        metadata=described(
            places=_REMEMBERED,
            control=Control(label="File name", hint="{source}, {date} and {time} are filled in"),
        ),
    )

    def __post_init__(self) -> None:
        if not (self.overlay or self.raw or self.poses):
            raise OptionError("nothing is chosen to be recorded")
        for seconds in (self.delay, self.duration):
            if seconds is not None and seconds <= 0:
                raise OptionError(f"{seconds:g} seconds are no time to wait or to record")
        check_options(self)
        self.stem("name")

    def stem(self, source: str, now: time.struct_time | None = None) -> str:
        """The name of the files of a recording that begins now, without their endings.

        Raises:
            OptionError: the pattern is none, or makes no name of a file.
        """
        now = now or time.localtime()
        values = {"source": source, "date": time.strftime("%Y%m%d", now), "time": time.strftime("%H%M%S", now)}
        try:
            named = [
                name for _text, name, _form, _conversion in string.Formatter().parse(self.pattern) if name is not None
            ]
            for name in named:
                if name not in _FIELDS:
                    raise OptionError(f"the file name has {{{name}}}, which is not known.{nearest_hint(name, _FIELDS)}")
            stem = self.pattern.format(**values).strip()
        except (ValueError, IndexError, KeyError) as error:
            raise OptionError(f"the file name {self.pattern} cannot be filled in: {error}") from error
        if not stem or stem.startswith(".") or _NOT_IN_NAMES & set(stem):
            raise OptionError(
                f"the file name is '{stem}': expected a name without any of {' '.join(sorted(_NOT_IN_NAMES))}"
            )
        return stem
