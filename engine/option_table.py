"""The form of an option table: a frozen dataclass whose fields carry each option's declaration as metadata.

Command line, settings, panels and reports are generated from such a table, so that an option is declared once.
Standard library only: `main.py --help` works with nothing installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import OptionError, nearest_hint
from engine.system.paths import path_from


class Place(enum.Flag):
    """Where an option is available.

    Attributes:
        COMMAND_LINE: as a flag.
        PANEL: as a control of the window.
        EXPORT: as a control of the window's export dialog.
        SETTINGS: the window remembers it.
        BENCHMARK: `--benchmark` uses it, passes it to its child processes, and reports it.
        STATUS: `--status-json` reports it.
    """

    COMMAND_LINE = enum.auto()
    PANEL = enum.auto()
    EXPORT = enum.auto()
    SETTINGS = enum.auto()
    BENCHMARK = enum.auto()
    STATUS = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """Valid numbers; `above` and `below` exclude the ends, `words` replace the default text in messages."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    words: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value is in the range; NaN never is."""
        over_low = self.low < value if self.above else self.low <= value
        under_high = value < self.high if self.below else value <= self.high
        return over_low and under_high

    def __str__(self) -> str:
        if self.words:
            return self.words
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        return f"{'above ' if self.above else ''}{self.low:g} to {'below ' if self.below else ''}{self.high:g}"


T = TypeVar("T")

AT_LEAST_1 = Range(low=1)
NOT_NEGATIVE = Range(low=0, words="0 or more")
POSITIVE = Range(low=0, above=True, words="a positive number")
SHARE = Range(low=0, high=1)
SEED = Range(low=0, high=2**32 - 1, words="0 to 4294967295")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
    """How a panel shows an option: a check box for a switch, a box of choices, a slider for a fraction, or a number.

    Attributes:
        label: text beside it.
        section: title of its group in the panel.
        hint: tool tip.
        spoken: text for screen readers; the label unless given.
        choices: texts to choose from, for an option whose valid values are not all listed.
        low, high: ends of a slider or of a number.
        step: of a slider.
        form: format of a slider's value, with `{value}` or `{percent}`; a score in hundredths unless given.
        none: text for no value, at a slider's or a number's 0, and among the choices.
        seconds: a number of seconds, with hundredths.
        files: title and pattern of a file dialog, for a model.
        needs: the switch without which this option has no effect.
    """

    label: str
    section: str = ""
    hint: str = ""
    spoken: str = ""
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 1
    step: float = 0.01
    form: str = ""
    none: str = ""
    seconds: bool = False
    files: tuple[str, str] | None = None
    needs: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """The declaration of an option.

    Attributes:
        name, default: of the field; set by `options_of`.
        help: for the command line; `{default}` stands for the default.
        read: parses a text, ValueError where it is invalid; unused for switches.
        group: title of its group in `--help`.
        metavar: the value's name in `--help`.
        given_flag: its flag, unless it is `--name`, or `--no-name` for a switch that is on by default.
        const: value of the flag without an argument, where that is allowed.
        many: takes one or more values; the field is a tuple or list.
        required: whether the command line must have it.
        within: valid numbers.
        choices: valid values.
        places: where it is available.
        control: its control in a panel.
    """

    name: str = ""
    default: Any = None
    help: str = ""
    read: Callable[[str], Any] = str
    group: str = ""
    metavar: str | None = None
    given_flag: str = ""
    const: str | None = None
    many: bool = False
    required: bool = False
    within: Range | None = None
    choices: tuple[str, ...] = ()
    places: Place = Place.COMMAND_LINE
    control: Control | None = None

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return isinstance(self.default, bool)

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return self.given_flag or f"--{'no-' if self.default is True else ''}{self.name.replace('_', '-')}"


def described(help: str = "", read: Callable[[str], Any] = str, *, flag: str = "", **rest: Any) -> Mapping[str, Option]:
    """Metadata that makes a field of a dataclass an option; arguments as in `Option`."""
    # Of `--output=~/a.mp4` no shell resolves the tilde.
    return {"option": Option(help=help, read=path_from if read is Path else read, given_flag=flag, **rest)}


def option(default: T, help: str = "", read: Callable[[str], Any] = str, **rest: Any) -> T:
    """A field that is an option with a default; typed as the default for type checkers."""
    return dataclasses.field(default=default, metadata=described(help, read, **rest))


def metadata_of(table: type, name: str) -> Mapping[str, Option]:
    """The metadata of a field, for a subclass that gives it another default."""
    found: Mapping[str, Option] = table.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    return found


def options_of(table: Any, place: Place | None = None) -> tuple[Option, ...]:
    """The options of a table (a dataclass, or an instance of one), in the order of its fields.

    Args:
        place: only those available there.
    """
    found = []
    for field in dataclasses.fields(table):
        declared: Option | None = field.metadata.get("option")
        if declared is None or (place is not None and place not in declared.places):
            continue
        default = field.default
        if default is dataclasses.MISSING:
            default = None if field.default_factory is dataclasses.MISSING else field.default_factory()
        found.append(dataclasses.replace(declared, name=field.name, default=default))
    return tuple(found)


def add_options(container: argparse._ActionsContainer, table: type, group: str | None = None) -> None:
    """Add the options of a table (of one group of it) to a parser; options not given leave no attribute."""
    for item in options_of(table, Place.COMMAND_LINE):
        if group is not None and item.group != group:
            continue
        text = item.help.replace("%", "%%").replace("{default}", str(item.default))
        common: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS, "help": text}
        if item.is_switch:
            container.add_argument(item.flag, action="store_const", const=not item.default, **common)
            continue
        if item.const is not None:
            common |= {"nargs": "?", "const": item.const}
        if item.many:
            common["nargs"] = "+"
        if item.required:
            common["required"] = True
        container.add_argument(item.flag, type=_for_argparse(item.read), metavar=item.metavar, **common)


def _for_argparse(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse reports a ValueError only as "invalid value"; this keeps its message."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def all_finite(value: object) -> bool:
    """Whether a value, or whatever stands in a tuple or list, holds neither NaN nor infinity."""
    if isinstance(value, (tuple, list)):
        return all(all_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)


def finite_number(text: str) -> float:
    """A number that is neither NaN nor infinite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"'{text}' is not a finite number")
    return number


def check_options(options: object) -> None:
    """Check the values of a table against its options; None is accepted.

    Raises:
        OptionError: a value is invalid; the message names the option.
    """
    for item in options_of(options):
        value = getattr(options, item.name)
        if value is None:
            continue
        if not all_finite(value):
            raise OptionError(f"{item.flag} is {value}; finite numbers fit")
        if item.choices and value not in item.choices:
            raise OptionError(f"{item.flag} is '{value}'.{nearest_hint(str(value), item.choices)}")
        if item.within is not None and not (isinstance(value, (int, float)) and item.within.holds(value)):
            raise OptionError(f"{item.flag} is {value}; expected {item.within}")


def words_of(options: object, place: Place) -> list[str]:
    """The command-line arguments that set the options of a place to these values."""
    words: list[str] = []
    for item in options_of(options, place):
        value = getattr(options, item.name)
        if value != item.default:
            words += [item.flag] if item.is_switch else [item.flag, str(value)]
    return words


def values_of(options: object, place: Place) -> dict[str, Any]:
    """The values of the options of a place, for JSON."""
    values = {item.name: getattr(options, item.name) for item in options_of(options, place)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
