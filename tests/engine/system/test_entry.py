"""How commands end."""

from __future__ import annotations

import pytest

from engine.system.entry import EXIT_INTERRUPTED, run_command


class Interrupted:
    """Ctrl-C while a class body is closed, as data classes do it at the import of a module."""

    def __set_name__(self, _owner: type, _name: str) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_in_a_class_body_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        type("Options", (), {"option": Interrupted()})
        return 0

    assert run_command(main) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "stopped\n"


def test_other_errors_are_not_hidden() -> None:
    def main() -> int:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        run_command(main)
