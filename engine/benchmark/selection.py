"""Parsing of numbers of people, precisions and runtimes, and the options of `python -m engine cost`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import OptionError, nearest_hint
from engine.option_table import Range, check_options, option
from engine.options import PRECISIONS

ROWS = {"openvino": ("fp32", "bf16", "int8"), "onnxruntime": ("fp32", "int8"), "torch": ("fp32", "bf16")}
"""Precisions that `--precision all` measures; other runtimes have only the one that was built."""
_MOST_PEOPLE = 64


def people_of(text: str) -> tuple[int, ...]:
    """Numbers of people from `1,4,8`.

    Raises:
        OptionError: a number is invalid or out of range.
    """
    counts = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= count <= _MOST_PEOPLE for count in counts):
        raise OptionError(f"--people {text}: expected numbers from 1 to {_MOST_PEOPLE}, separated by commas")
    return tuple(sorted(set(counts)))


def precisions_of(text: str) -> tuple[str, ...]:
    """Precisions to measure, from `fp32,bf16,int8`; "all" stands for those of each runtime.

    Raises:
        OptionError: a name is unknown.
    """
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in ("all", *PRECISIONS):
            raise OptionError(f"unknown precision '{name}'.{nearest_hint(name, ('all', *PRECISIONS))}")
    return ("all",) if "all" in names else tuple(dict.fromkeys(names))


def rows_of(backend: str, precisions: tuple[str, ...]) -> tuple[str, ...]:
    """The precisions to measure a runtime in."""
    return ROWS.get(backend, ("auto",)) if precisions == ("all",) else precisions


@dataclass(frozen=True, kw_only=True)
class CostOptions:
    """The options of `python -m engine cost`."""

    pose_model: str | None = option(None, "weights, or the name of a network for random ones", metavar="NAME|FILE")
    input_size: str | None = option(None, "of the crops in px, as in 256x192", metavar="HxW")
    deconv_channels: int | None = option(None, "of a ResNet with random weights", int, metavar="N")
    people: str = option("1,4", "batch sizes ({default})")
    runtime: str = option(",".join(ROWS), "some of openvino,onnxruntime,torch (all)")
    precision: str = option("all", "some of fp32,bf16,fp16 (all that each runtime supports)")
    device: str = option("cpu", "cpu (default), cuda or cuda:N")
    threads: int = option(1, "processor threads of one inference ({default})", int)
    rounds: int = option(40, "measured runs of each network ({default})", int, within=Range(low=1, high=10_000))
    report: Path | None = option(None, "write the numbers to a file", Path, metavar="FILE.json")
    overwrite: bool = option(False, "replace a report that exists")

    def __post_init__(self) -> None:
        check_options(self)
        people_of(self.people)
        for name in self.runtimes:
            if name not in ROWS:
                raise OptionError(f"--runtime {name} cannot be measured here.{nearest_hint(name, ROWS)}")
        if self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise OptionError(f"--device {self.device}: expected cpu, cuda or cuda:N")
        if "int8" in precisions_of(self.precision):
            raise OptionError("--precision int8 needs calibration; expected all, fp32, bf16 or fp16")

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The requested runtimes; TensorRT is not among them, because it builds one form only."""
        return tuple(name.strip() for name in self.runtime.split(","))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Runtime and precision of each line of the table."""
        precisions = precisions_of(self.precision)
        for runtime in self.runtimes:
            chosen = rows_of("cuda" if self.device.startswith("cuda") else runtime, precisions)
            yield from ((runtime, precision) for precision in chosen if precision != "int8")
