"""The form of an option table: a frozen dataclass whose fields carry each option's declaration as metadata.

Command line, settings, panels and reports are made from such a table, so that an option is written down once.
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


class Place(enum.Flag):
    """Where an option shows.

    Attributes:
        COMMAND_LINE: as a flag.
        PANEL: as a control of the window.
        SETTINGS: the window remembers it.
        BENCHMARK: `--benchmark` measures with it, passes it on to its child processes, and reports it.
        STATUS: `--status-json` reports it.
    """

    COMMAND_LINE = enum.auto()
    PANEL = enum.auto()
    SETTINGS = enum.auto()
    BENCHMARK = enum.auto()
    STATUS = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers that fit; `above` and `below` exclude the ends, `words` replace the usual words for a person."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    words: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value lies within; NaN never does."""
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
    """How a panel shows an option: a check box for a switch, a box of choices, a slider for a share, or a number.

    Attributes:
        label: words beside it.
        section: title of the part of the panel where it stands.
        hint: tool tip.
        spoken: what a screen reader says; the label unless given.
        choices: texts to choose from, for an option whose valid values are not all listed.
        low, high: ends of a slider or of a number.
        step: of a slider.
        form: how a slider's value is written, with `{value}` or `{percent}`; a score in hundredths unless given.
        none: what stands for no value, at a slider's 0.
        files: title and pattern of a file dialog, for a model: a shipped one by name, or a file.
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
    files: tuple[str, str] | None = None
    needs: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """The declaration of an option.

    Attributes:
        name, default: of the field; they are filled in by `options_of`.
        help: for the command line; `{default}` stands for the default.
        read: makes a value of a text, ValueError where it does not fit; switches need none.
        group: title of its group in `--help`.
        metavar: the value's name in `--help`.
        given_flag: its flag, unless it is `--name`, or `--no-name` for a switch that is on by default.
        const: the value of the flag alone, for one whose value may be left out.
        many: takes one or more values; the field is a tuple or list.
        required: whether the command line must name it.
        within: numbers that fit.
        choices: values that fit.
        places: where it shows.
        control: how a panel shows it.
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
    return {"option": Option(help=help, read=read, given_flag=flag, **rest)}


def option(default: T, help: str = "", read: Callable[[str], Any] = str, **rest: Any) -> T:
    """A field that is an option and has a default; it has the default's type, so that type checkers compare it."""
    return dataclasses.field(default=default, metadata=described(help, read, **rest))


def metadata_of(table: type, name: str) -> Mapping[str, Option]:
    """The metadata of a field, for a subclass that gives it another default."""
    found: Mapping[str, Option] = table.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    return found


def options_of(table: Any, place: Place | None = None) -> tuple[Option, ...]:
    """The options of a table (a dataclass, or an instance of one), in the order of its fields.

    Args:
        place: only those that show there.
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
    """Add the options of a table (of one group of it) to a parser; those that are not given leave no attribute."""
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
    """argparse says only "invalid value" of a ValueError; this keeps what was wrong with it."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def check_options(options: object) -> None:
    """Compare the values of a table with what its options allow; None is left to whoever resolves it.

    Raises:
        OptionError: a value does not fit; the message names the option.
    """
    for item in options_of(options):
        value = getattr(options, item.name)
        if value is None:
            continue
        if item.choices and value not in item.choices:
            raise OptionError(f"{item.flag} is '{value}'.{nearest_hint(str(value), item.choices)}")
        if item.within is not None and not item.within.holds(value):
            raise OptionError(f"{item.flag} is {value}; {item.within} fits")


def words_of(options: object, place: Place) -> list[str]:
    """The command line that gives the options of a place the values they have here."""
    words: list[str] = []
    for item in options_of(options, place):
        value = getattr(options, item.name)
        if value != item.default:
            words += [item.flag] if item.is_switch else [item.flag, str(value)]
    return words


def values_of(options: object, place: Place) -> dict[str, Any]:
    """The values that show in a place, as JSON takes them."""
    values = {item.name: getattr(options, item.name) for item in options_of(options, place)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
