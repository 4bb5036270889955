"""An argument parser with one-line errors; main.py has its own, because it must not import the program first."""

from __future__ import annotations

import argparse
from typing import NoReturn

EXIT_BAD_INPUT = 2


class OneLineParser(argparse.ArgumentParser):
    """Reports an error in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(EXIT_BAD_INPUT, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")
