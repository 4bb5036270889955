"""The command line in a separate process: exit codes, one line on stderr, no leftover files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import main
from engine.errors import OptionError
from engine.output.live.targets import split_poses
from engine.skeleton import COCO17
from tests.engine.clips import ClipSpec, make_clip

ROOT = Path(__file__).resolve().parent.parent


def run(
    *arguments: str | Path, python: tuple[str, ...] = (), timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, str(ROOT / "main.py"), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def refused(*arguments: str | Path, python: tuple[str, ...] = ()) -> str:
    """The one line on stderr of a run that ends with exit code 2."""
    done = run(*arguments, python=python)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in done.stdout
    return lines[0]


def test_help_needs_the_standard_library_only_and_is_quick() -> None:
    started = time.monotonic()
    done = run("--help", python=("-S", "-E"))
    assert done.returncode == 0, done.stderr
    for option in ("--video", "--attention", "--backend", "--doctor", "--poses", "--download"):
        assert option in done.stdout
    assert time.monotonic() - started < 5  # 20 times the duration on an idle machine


def test_the_version_is_the_project_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"kcam-pose {main.VERSION}"
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "main.VERSION"}


def test_without_packages_the_error_is_one_line() -> None:
    line = refused("--video", "demo", python=("-S", "-E"))
    assert "is not installed" in line
    assert "pip install -r requirements-run.txt" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-people", "0"], "'0' is not a whole number of at least 1"),
        (["--max-frames", "-3"], "'-3' is not a whole number"),
        (["--max-frames", "ten"], "'ten' is not a whole number"),
        (["--duration", "nan"], "'nan' is not a number of seconds above 0"),
        (["--score-threshold", "1.5"], "'1.5' is not a number from 0 to 1"),
        (["--attention-scale", "log"], "invalid choice: 'log'"),
        (["--draw", "skeleton,none"], "'none' cannot be drawn with anything else"),
        (["--draw", "skeleton,boxs"], "'boxs' cannot be drawn. Did you mean 'boxes'"),
        (["--line-width", "0"], "'0' is not a width in px"),
        (["--follow", "biggest"], "'biggest' is neither largest nor centre nor an id"),
        (["--count", "left_elbow:150:60"], "is not ANGLE:LOW:HIGH"),
        (["--vide", "x.mp4"], "unrecognized arguments: --vide"),
        (["--video", "a.mp4", "--doctor"], "not allowed with"),
    ],
)
def test_options_that_do_not_parse(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(arguments if "--video" in arguments else ["--video", "demo", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.strip().splitlines()) == 1


def test_the_benchmark_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--benchmark", "--doctor"], "--benchmark goes with neither"),
        (["--video", "demo", "--report", "a.json"], "--report needs --benchmark"),
        (["--compare", "serial"], "--compare needs --benchmark"),
        (["--video", "demo", "--frames", "9"], "--frames needs --benchmark"),
        (["--benchmark", "--video", "demo", "--output", "a.mp4"], "--output needs --video and no --benchmark"),
    ):
        with pytest.raises(SystemExit) as ended:
            main.main(arguments)
        assert ended.value.code == 2
        assert expected in capsys.readouterr().err


def test_outputs_need_a_video_and_the_status_a_window(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--poses", "a.jsonl"], "--poses needs --video"),
        (["--duration", "9"], "--duration needs --video"),
        (["--no-legend"], "--no-legend needs --video"),
        (["--video", "demo", "--status-json", "a.json"], "--status-json goes with none of --video"),
    ):
        with pytest.raises(SystemExit) as ended:
            main.main(arguments)
        assert ended.value.code == 2
        assert expected in capsys.readouterr().err
    assert main.read_options(["--source", "demo", "--status-json", "a.json", "--overwrite"]).overwrite


def test_the_tilde_is_the_home_of_outputs_too() -> None:
    words = ["--video", "demo", "--output=~/a.mp4", "--poses=~/a.csv"]
    options = main.read_options(words)
    files, live = split_poses(options.poses)
    assert (options.output, files, live) == (Path.home() / "a.mp4", (Path.home() / "a.csv",), ())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
@pytest.mark.parametrize("arguments", [[], ["--source", "0"]])
def test_without_a_screen_the_window_says_so(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert "--video demo" in error
    assert len(error.strip().splitlines()) == 1


def test_internal_errors_have_their_own_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_with(error: BaseException) -> None:
        def fail(_arguments: object) -> int:
            raise error

        monkeypatch.setattr(main, "_run", fail)

    fail_with(OptionError("a line\nin two parts"))
    assert main.main([]) == 2
    assert capsys.readouterr().err == "error: a line in two parts\n"
    fail_with(ZeroDivisionError("division by zero"))
    assert main.main([]) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert "--verbose" in error
    assert main.main(["--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err
    fail_with(PermissionError(errno.EACCES, "Permission denied", "a.onnx"))
    assert main.main([]) == 2
    assert capsys.readouterr().err == "error: a.onnx: Permission denied\n"
    fail_with(TimeoutError("timed out"))
    assert main.main([]) == 1
    assert "error: TimeoutError: timed out" in capsys.readouterr().err
    fail_with(ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2"))
    assert main.main([]) == 2
    assert "apt-get install libgl1" in capsys.readouterr().err
    fail_with(KeyboardInterrupt())
    assert main.main([]) == 130


Capture = pytest.CaptureFixture[str]


class TestBadInput:
    """Each of these ends before any network is loaded."""

    @staticmethod
    def refused_here(capsys: Capture, *arguments: str | Path) -> str:
        """As `refused`, in this process: quicker, but what C libraries print is not seen."""
        assert main.main([str(argument) for argument in arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    def test_a_text_file_named_mp4(self, tmp_path: Path) -> None:
        text = tmp_path / "notes.mp4"
        text.write_text("this is not a video, whatever its name says\n" * 20)
        line = refused("--video", text, "--output", tmp_path / "out.mp4", "--poses", tmp_path / "out.jsonl")
        assert "notes.mp4" in line
        assert [path.name for path in tmp_path.iterdir()] == ["notes.mp4"]

    def test_an_unknown_keypoint(self, random_weights: Path, tmp_path: Path, clip: Path) -> None:
        line = refused(
            "--video", clip, "--output", tmp_path / "out.mp4", "--pose-model", random_weights,
            "--attention", "areas:left_wirst",
        )  # fmt: skip
        assert "unknown keypoint 'left_wirst'" in line
        assert "Did you mean 'left_wrist'?" in line
        assert [path.name for path in tmp_path.iterdir()] == [random_weights.name]

    def test_a_file_that_is_not_there(self, tmp_path: Path, capsys: Capture) -> None:
        line = self.refused_here(capsys, "--video", tmp_path / "gone.mp4", "--output", tmp_path / "out.mp4")
        assert "gone.mp4 does not exist" in line
        assert list(tmp_path.iterdir()) == []

    def test_a_file_of_zero_bytes(self, tmp_path: Path, capsys: Capture) -> None:
        (tmp_path / "nothing.mp4").touch()
        line = self.refused_here(capsys, "--video", tmp_path / "nothing.mp4", "--output", tmp_path / "out.mp4")
        assert "empty" in line
        assert [path.name for path in tmp_path.iterdir()] == ["nothing.mp4"]

    def test_a_folder_without_photos(self, tmp_path: Path, capsys: Capture) -> None:
        (tmp_path / "photos").mkdir()
        line = self.refused_here(capsys, "--video", tmp_path / "photos", "--output", tmp_path / "out")
        assert "photos" in line
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]

    def test_an_existing_output_is_not_replaced(
        self, random_weights: Path, tmp_path: Path, clip: Path, capsys: Capture
    ) -> None:
        out = tmp_path / "out.mp4"
        out.write_text("precious")
        detector = tmp_path / "any.onnx"
        detector.write_bytes(b"never read")
        line = self.refused_here(
            capsys, "--video", clip, "--output", out, "--pose-model", random_weights, "--detector", detector
        )
        assert "--overwrite" in line
        assert out.read_text() == "precious"

    def test_an_output_that_cannot_be_written(
        self, random_weights: Path, tmp_path: Path, clip: Path, capsys: Capture
    ) -> None:
        blocked = tmp_path / "any.onnx"  # a file where a folder would have to be
        blocked.write_bytes(b"never read")
        line = self.refused_here(
            capsys, "--video", clip, "--output", blocked / "out.mp4", "--pose-model", random_weights,
            "--detector", blocked,
        )  # fmt: skip
        assert str(blocked) in line
        assert {path.name for path in tmp_path.iterdir()} == {"any.onnx", random_weights.name}

    def test_a_poses_file_of_unknown_format(
        self, random_weights: Path, tmp_path: Path, clip: Path, capsys: Capture
    ) -> None:
        detector = tmp_path / "any.onnx"
        detector.write_bytes(b"never read")
        line = self.refused_here(
            capsys, "--video", clip, "--output", tmp_path / "out.mp4", "--poses", tmp_path / "out.xml",
            "--pose-model", random_weights, "--detector", detector,
        )  # fmt: skip
        assert ".jsonl" in line
        assert {path.name for path in tmp_path.iterdir()} == {"any.onnx", random_weights.name}

    def test_attention_of_a_network_without_it(self, tmp_path: Path, clip: Path, capsys: Capture) -> None:
        weights = save_random(tmp_path / "bare.safetensors", "resnet18")
        line = self.refused_here(
            capsys, "--video", clip, "--output", tmp_path / "out.mp4", "--pose-model", weights,
            "--attention", "left_wrist",
        )  # fmt: skip
        assert "'resnet18' has no attention maps" in line

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (("--pose-model", "kcam_resnet81"), "unknown pose model 'kcam_resnet81'"),
            (("--pose-model", "gone.safetensors"), "gone.safetensors does not exist"),
            (("--backend", "openvimo"), "Did you mean 'openvino'?"),
            (("--precision", "fp61"), "Did you mean 'fp16'?"),
            (("--device", "gpu"), "auto, cpu, coreml, cuda or cuda:0"),
        ],
    )
    def test_unknown_names(
        self, given: tuple[str, str], expected: str, tmp_path: Path, clip: Path, capsys: Capture
    ) -> None:
        line = self.refused_here(capsys, "--video", clip, "--output", tmp_path / "out.mp4", *given)
        assert expected in line
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_detector(self, random_weights: Path, tmp_path: Path, clip: Path, capsys: Capture) -> None:
        line = self.refused_here(
            capsys, "--video", clip, "--output", tmp_path / "out.mp4", "--pose-model", random_weights,
            "--detector", "yolo26m_persons",
        )  # fmt: skip
        assert "unknown detector 'yolo26m_persons'" in line
        assert [path.name for path in tmp_path.iterdir()] == [random_weights.name]


def save_random(path: Path, name: str) -> Path:
    """A small network with random weights."""
    pytest.importorskip("torch", reason="torch, which makes random weights, is not installed")
    from models.build import build_model
    from models.checkpoints import save_pose_model

    model = build_model(name, input_size_wh=(96, 128), deconv_channels=16)
    save_pose_model(path, model, skeleton=COCO17.to_dict())
    return path


@pytest.fixture
def random_weights(tmp_path: Path) -> Path:
    """A small KCAM network with random weights."""
    return save_random(tmp_path / "random.safetensors", "kcam_resnet18")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short video; the demo would do as well, but takes longer to make."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", ClipSpec(frames=3))
