"""Every entry point ends well: Ctrl-C, a console that is gone or full, no memory, no folder to stand in."""

from __future__ import annotations

import ast
import errno
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import __main__ as engine_command
from engine.artifacts import folders
from engine.artifacts.atomic import filling
from engine.system import entry
from tests.engine.clips import ClipSpec, make_clip
from tests.faults.ledger import ROOT, Fault
from tests.signals import arriving

pytestmark = pytest.mark.fault("entry points")

FILES = [
    ROOT / "main.py",
    *sorted(
        file
        for folder in ("engine", "train", "app")
        for file in (ROOT / folder).rglob("*.py")
        if 'if __name__ == "__main__"' in file.read_text(encoding="utf-8")
    ),
    *(ROOT / "tests" / name for name in ("endurance.py", "paint_benchmark.py", "screenshots.py")),
]


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_every_entry_point_is_run_by_the_one_function(file: Path, fault: Fault) -> None:
    """That is where Ctrl-C, a closed pipe, a full console and the like are handled."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    guards = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    assert len(guards) == 1
    assert "raise SystemExit(run_command(main))" in ast.unparse(guards[0])


class Console(io.StringIO):
    """Fails when it is written to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def fileno(self) -> int:
        raise io.UnsupportedOperation


ENDS: dict[str, tuple[BaseException, int]] = {
    "Ctrl-C": (KeyboardInterrupt(), 130), "closed pipe": (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141),
    "full": (OSError(errno.ENOSPC, "No space left on device"), 2), "gone": (OSError(errno.EIO, "I/O error"), 2),
    "no memory": (MemoryError(), 2),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_console_that_takes_no_more(
    file: Path, end: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    """While the help is printed, which every one has."""
    module = importlib.import_module(module_of(file))
    if not hasattr(module, "main"):
        pytest.skip("its main function stands elsewhere")
    error, code = ENDS[end]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Console(error))
        patch.setattr(sys, "argv", [str(file), "--help"])
        try:
            ended: object = entry.run_command(module.main)
        except SystemExit as exit_:
            ended = exit_.code
    assert ended in (code, 0)
    err = capsys.readouterr().err
    fault.quiet(err)
    assert len(err.strip().splitlines()) <= 1


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize("end", ENDS)
def test_what_each_end_says(end: str, capsys: pytest.CaptureFixture[str], fault: Fault) -> None:
    error, code = ENDS[end]
    kept = os.dup(1)
    try:
        assert entry.run_command(raising(error)) == code
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == (end != "closed pipe")


def test_other_errors_are_not_hidden(fault: Fault) -> None:
    for error in (ValueError("a fault"), FileNotFoundError(errno.ENOENT, "No such file", "x")):
        with pytest.raises(type(error)):
            entry.run_command(raising(error))
    fault.more(2)


COMMANDS = {
    "help": ["main.py", "--help"],
    "doctor": ["main.py", "--doctor"],
    "list": ["-m", "engine", "list"],
    "clean": ["-m", "engine", "clean"],
    "engine help": ["-m", "engine", "build", "--help"],
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("console", ["closed", "full"])
@pytest.mark.parametrize("name", COMMANDS)
def test_real_consoles(name: str, console: str, tmp_path: Path, fault: Fault) -> None:
    environment = {**os.environ, folders.CACHE_VARIABLE: str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    if console == "full":
        with open("/dev/full", "w") as stdout:  # noqa: PTH123 - a device
            done = subprocess.run(
                [sys.executable, *COMMANDS[name]], cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE,
                text=True, timeout=100, check=False,
            )  # fmt: skip
        code, err = done.returncode, done.stderr
    else:
        process = subprocess.Popen(
            [sys.executable, *COMMANDS[name]], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        code = process.wait(100)
    fault.quiet(err)
    assert "Exception ignored" not in err
    assert code in (0, 2, 141), err
    assert len(err.strip().splitlines()) <= 1, err


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Windows closes no streams")
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_streams_that_are_closed(closed: tuple[int, ...], tmp_path: Path, fault: Fault) -> None:
    """The next file that is opened must not become the console: what is printed would stand in it."""
    clip, poses = make_clip(tmp_path / "a.mp4", ClipSpec(frames=3)), tmp_path / "a.jsonl"
    words = ["--video", clip, "--output", "none", "--detector", "none", "--poses", poses]
    program = (
        f"import os, sys; [os.close(number) for number in {closed}];"
        f"os.execv(sys.executable, [sys.executable, {str(ROOT / 'main.py')!r}, *{[str(word) for word in words]!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False)
    fault.quiet(done.stderr)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in poses.read_text().splitlines()] == [0, 1, 2]


WINDOWS = (
    ["main.py", "--source", "none.mp4"], ["-m", "tests.screenshots", "--folder", "none"],
    ["-m", "tests.endurance", "--minutes", "0.1"], ["-m", "tests.paint_benchmark"],
)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Windows closes no streams")
def test_poses_for_a_standard_output_that_is_closed(tmp_path: Path, fault: Fault) -> None:
    """They would be counted as sent, and be nowhere."""
    words = [sys.executable, str(ROOT / "main.py"), "--video", "demo", "--output", "none", "--poses", "-"]
    program = f"import os, sys; os.close(1); os.execv(sys.executable, {words!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False)
    assert "standard output, which is closed" in fault.refused(done.returncode, done.stderr)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for a screen on Linux only")
@pytest.mark.parametrize("platform", ["nonsense", "wayland"])
@pytest.mark.parametrize("words", WINDOWS, ids=lambda words: words[1])
def test_where_qt_would_abort(words: list[str], platform: str, tmp_path: Path, fault: Fault) -> None:
    environment = {"QT_QPA_PLATFORM": platform, "WAYLAND_DISPLAY": "nobody", "HOME": str(tmp_path)}
    done = fault.run(*words, env=environment, limit_s=100)
    assert done.code == 2 and "error: the window cannot run: " in done.err
    assert platform in done.err or "wl_display" in done.err, "it says what Qt complained of"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that is in use")
@pytest.mark.parametrize("words", [["--doctor"], ["--video", "demo"], ["--video", "x.mp4"], ["--help"]], ids=str)
def test_a_working_folder_that_was_deleted(words: list[str], tmp_path: Path, fault: Fault) -> None:
    program = (
        "import os, subprocess, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
        f"sys.exit(subprocess.run([sys.executable, {str(ROOT / 'main.py')!r}, *{words!r}]).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    fault.quiet(done.stderr)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode:
        assert "current folder does not exist" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a child")
@pytest.mark.parametrize("after_s", [0.0, 0.3, 2.0])
@pytest.mark.parametrize(
    "words",
    [
        ["-m", "engine", "cost", "--rounds", "1000"],
        ["-m", "engine", "build", "--pose-model", "kcam_resnet18", "--force"],
        ["-m", "train.figures", "--weights", "kcam_resnet18", "--image", "x.png"],
        ["main.py", "--doctor"],
        ["main.py", "--benchmark", "--frames", "500"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_ctrl_c(words: list[str], after_s: float, tmp_path: Path, fault: Fault) -> None:
    """While it imports, and while it works; counted from when the program reads its arguments, or is about to."""
    number = arriving("SIGINT")
    process = fault.start("-X", "importtime", *words, env={folders.CACHE_VARIABLE: str(tmp_path)})
    assert process.stderr is not None
    ready = re.compile(r"engine\.(system\.one_line_parser|option_table)")
    while ready.search(process.stderr.readline()) is None:
        assert process.poll() is None
    drained: list[str] = []
    reader = threading.Thread(target=lambda: drained.extend(process.stderr or ()), daemon=True)
    reader.start()
    time.sleep(after_s)
    process.send_signal(number)
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    reader.join(10)
    fault.quiet("".join(drained))
    assert code in (130, -signal.SIGINT, 0, 2)


# engine clean


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(tmp_path))
    file = tmp_path / "onnx" / f"a-{'0' * 32}-g7" / "a.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"hours of work")
    return file


@pytest.mark.parametrize(
    ("answer", "deleted"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_cleaning_asks(
    *, answer: str, deleted: bool, filled: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:  # fmt: skip
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert engine_command.main(["clean"]) == (0 if deleted else 2)
    out, _ = capfd.readouterr()
    assert str(filled.parents[1]) in out, "it says what it would delete"
    fault.keeps(filled.exists() != deleted, "it was deleted unasked")


def test_cleaning_keeps_what_is_not_the_programs_own(filled: Path, tmp_path: Path, fault: Fault) -> None:
    """The cache may be in a folder of the person, who may have folders of the same names."""
    digest = "0123456789abcdef" * 2
    made = [filled, *(tmp_path / name for name in (
        f"onnx/net-{digest}-g7-int8-00ff00ff/net.onnx", f"onnx/net-{digest}-g7-ab_12345.part/net.onnx",
        f"engines/net-tensorrt-fp16-{digest[:24]}.built/net.engine",
        f"engines/net-tensorrt-fp16-{digest[:24]}.built-ab_12345.stale/net.engine", f"engines/timing/{digest[:16]}.bin",
    ))]  # fmt: skip
    precious = [tmp_path / name for name in (
        "onnx/notes.txt", "onnx/a/mine.onnx", "onnx/film.part/a.mp4", "onnx/tmpab_12345.stale/entry/a.txt",
        "engines/car.built/plan.txt", "engines/film.part/a.mp4", "engines/timing/laps.csv", "downloads/a.pt",
        "thesis.tex",
    )]  # fmt: skip
    for file in (*made, *precious):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("work")
    old = time.time() - 10 * 86400
    for folder in {file.parent for file in precious}:
        os.utime(folder, (old, old))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.onnx").write_text("work")
    (tmp_path / "onnx" / f"mine-{digest}-g7").symlink_to(tmp_path / "linked")
    precious.append(tmp_path / "linked" / "a.onnx")
    for words in (["clean", "--damaged", "--yes"], ["clean", "--yes"]):
        assert engine_command.main(words) == 0
        fault.keeps(all(file.exists() for file in precious), f"{words}: a file of the person is gone")
    assert not any(file.exists() for file in made)
    with filling(tmp_path / "onnx" / f"net-{digest}-g7") as folder:  # removes what killed builds left
        (folder / "net.onnx").write_text("new")
    fault.keeps(all(file.exists() for file in precious), "a build deleted a file of the person")
    fault.more(len(precious) * 3)


def test_cleaning_without_a_terminal_wants_yes(filled: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert engine_command.main(["clean"]) == 2
    fault.keeps(filled.exists(), "it was deleted unasked")
    assert engine_command.main(["clean", "--yes"]) == 0
    assert not filled.exists()
