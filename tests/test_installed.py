"""The program as a package: built as a wheel, installed apart from the checkout, run from an empty folder."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = ("app", "engine", "models", "train", "main.py", "pyproject.toml", "README.md", "LICENSE")


def _run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=280, check=False
    )


def _installed_by_pip() -> bool:
    try:
        importlib.metadata.distribution("kcam-pose")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder with the commands, and the environment that they need.

    Where `pip install .` was done already (`make test-run`), that is what is tried; elsewhere a wheel is built, and
    installed into a folder of its own.
    """
    if _installed_by_pip():
        return Path(sys.executable).parent, {}
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    # A copy, because a build leaves its own files beside the sources.
    for name in (*BUILT_FROM, *(file.name for file in ROOT.glob("requirements*.txt"))):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    built = _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(target), "."], source)
    assert built.returncode == 0, built.stderr
    (wheel,) = target.glob("kcam_pose-*.whl")
    folder = target / "packages"
    done = _run([*pip, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)], source)
    assert done.returncode == 0, done.stderr
    return folder / "bin", {"PYTHONPATH": str(folder)}


@pytest.fixture
def program(installed: tuple[Path, dict[str, str]]) -> str:
    name = "kcam-pose.exe" if sys.platform == "win32" else "kcam-pose"
    return str(installed[0] / name)


def test_the_command_runs_from_an_empty_folder(
    installed: tuple[Path, dict[str, str]], program: str, photo_paths: list[Path], tmp_path: Path
) -> None:
    done = _run([program, "--video", "demo", "--max-frames", "3", "--poses", "demo.jsonl", "--backend", "openvino"],
                tmp_path, **installed[1], KCAM_CACHE_DIR=str(tmp_path / "cache"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    people = [json.loads(line)["people"] for line in (tmp_path / "demo.jsonl").read_text().splitlines()]
    assert len(people) == 3 and all(people)
    assert (tmp_path / "outputs" / "demo_pose.mp4").stat().st_size > 0
    assert not (tmp_path / "cache").exists(), "nothing was exported: the graphs ship"


def test_the_doctor_names_the_extras(installed: tuple[Path, dict[str, str]], program: str, tmp_path: Path) -> None:
    done = _run([program, "--doctor"], tmp_path, **installed[1])
    assert done.returncode == 0, done.stderr
    assert "not examined" not in done.stdout
    if importlib.util.find_spec("torch") is None:
        assert "fine for videos, the window and Python" in done.stdout
        assert 'python -m pip install "kcam-pose[train]"' in done.stdout


def test_what_needs_torch_says_so_in_one_line(
    installed: tuple[Path, dict[str, str]], program: str, photo_paths: list[Path], tmp_path: Path
) -> None:
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("torch is installed here")
    weights = importlib.util.find_spec("models")
    assert weights is not None and weights.submodule_search_locations
    shipped = Path(weights.submodule_search_locations[0]) / "weights" / "kcam_resnet18.safetensors"
    own = shutil.copy(shipped, tmp_path / "own.safetensors")
    cache = {"KCAM_CACHE_DIR": str(tmp_path / "cache")}
    trainer = program.replace("kcam-pose", "kcam-pose-train")
    for command in ([program, "--video", "demo", "--pose-model", str(own), "--quiet"], [trainer, "--data", "."]):
        done = _run(command, tmp_path, **installed[1], **cache)
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert "the package torch is not installed" in line
        assert line.endswith('python -m pip install "kcam-pose[train]"')


def test_the_snippet_of_the_readme_runs(
    installed: tuple[Path, dict[str, str]], program: str, photo_paths: list[Path], tmp_path: Path
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"## From Python\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    shutil.copy(photo_paths[0], tmp_path / "street.jpg")
    made = [program, "--video", "demo", "--max-frames", "4", "--output", "walk.mp4", "--quiet"]
    assert _run(made, tmp_path, **installed[1]).returncode == 0
    (tmp_path / "snippet.py").write_text(found.group(1), encoding="utf-8")
    done = _run([sys.executable, "snippet.py"], tmp_path, **installed[1])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "street_pose.jpg").is_file()
    assert len(done.stdout.splitlines()) == 1 + 4
