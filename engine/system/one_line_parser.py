"""An argument parser with one-line errors; main.py has its own, because it must not import the program first."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from engine.system.console import any_character

EXIT_BAD_INPUT = 2


class OneLineParser(argparse.ArgumentParser):
    """Reports an error in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(EXIT_BAD_INPUT, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")

    def parse_args(self, *given: Any, **named: Any) -> Any:
        """As argparse does; what is printed from now on may hold any character."""
        any_character()
        return super().parse_args(*given, **named)

    def add_overwrite(self) -> None:
        """Add the switch without which a command replaces no file."""
        self.add_argument("--overwrite", action="store_true", help="replace files that exist")
