"""What is opened and closed."""

from __future__ import annotations

import abc
from typing import Self


class Closing(abc.ABC):
    """A context manager that closes itself at its end."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release everything; may be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
