"""Compiled files: built once in a child process, kept in a cache, never used when incomplete or stale.

An entry of the cache is a folder. When two processes build the same entry, the first result is kept and both use it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from engine import errors
from engine.artifacts.atomic import filling
from engine.artifacts.folders import CACHE_VARIABLE, cache_dir, is_offline
from engine.artifacts.model_files import find_detector, official_detector_file, shipped_export
from engine.artifacts.model_spec import GRAPH_VERSION, ModelSpec, digest_of, read_spec, spec_path
from engine.errors import BackendError, EngineError, ModelError

Notify = Callable[[str], None]
"""Takes one line of progress for the user."""

_ROOT = Path(__file__).resolve().parents[2]
_running: dict[int, subprocess.Popen[str]] = {}  # the child process that each thread waits for


def discard_notice(_line: str) -> None:
    """Discard the progress lines."""


def ensure_onnx(weights: Path, *, force: bool = False, notify: Notify = discard_notice) -> Path:
    """The ONNX form of a pose model: the one that ships with its weights, or one exported into the cache at first use.

    Args:
        weights: a `.safetensors` file; an `.onnx` file with its spec is checked and returned as it is.
        force: export it into the cache even if there is one.
        notify: receives one line when something has to be built.

    Raises:
        ModelError: the weights cannot be used.
        BackendError: the export failed.
        OutputError: the cache cannot be written.
    """
    if weights.suffix.lower() == ".onnx":
        if read_spec(weights).kind != "pose":
            raise ModelError(f"{weights} is a detector; a pose model was expected")
        return weights
    digest = digest_of(weights)
    task = "exporting it to ONNX"
    shipped = shipped_export(weights)
    if shipped is not None and shipped.is_file() and not force:
        problem = _why_unusable(shipped, digest)
        if problem is None:
            return shipped
        task = f"{shipped.name}, which ships with it, {problem}; {task}"
    # The input size is part of the weights' header, and so of the hash.
    arguments = ["--pose-model", str(weights.resolve())]
    file = entry_of(weights, digest) / f"{weights.stem}.onnx"
    return ensure_entry(file, digest, arguments, notify, task=task, force=force)


def ensure_detector(
    name_or_path: str | Path | None = None,
    *,
    download: bool = False,
    force: bool = False,
    notify: Notify = discard_notice,
) -> Path:
    """The ONNX form of a detector: a shipped one unchanged, others converted into the cache at first use.

    Args:
        name_or_path: a shipped name, `FILE.onnx`, `FILE.pt`, the official name of a detector, or None for the default.
        download: fetch an official detector that is not on this machine.
        force: convert it even if the cache has it.
        notify: receives one line when something has to be fetched or built.

    Raises:
        ModelError: there is no such detector, or it cannot be used.
        BackendError: the conversion failed.
        OutputError: the cache cannot be written.
    """
    official = official_detector_file(str(name_or_path)) if name_or_path is not None else None
    try:
        source = find_detector(name_or_path)
    except ModelError:
        if official is None or not download or is_offline():
            raise
        notify(f"fetching {official} from the ultralytics project, once")
        source = run_build(["--fetch-detector", official], notify)
    if source.suffix.lower() == ".onnx" and spec_path(source).is_file():
        if read_spec(source).kind != "detector":
            raise ModelError(f"{source} is a pose model; a detector was expected")
        return source
    digest = digest_of(source)
    file = entry_of(source, digest) / f"{source.stem}.onnx"
    return ensure_entry(file, digest, ["--detector", str(source)], notify, force=force)


def entry_of(source: Path, digest: str) -> Path:
    """The cache folder for the export of a file with that SHA-256."""
    return cache_dir() / "onnx" / f"{source.stem}-{digest[:32]}-g{GRAPH_VERSION}"


def ensure_entry(
    file: Path,
    digest: str,
    arguments: Sequence[str],
    notify: Notify,
    *,
    task: str = "exporting it to ONNX",
    force: bool = False,
) -> Path:
    """The file of a cache entry; built by the child process where the entry is missing, damaged or stale.

    With `force` it is built in any case; the old file stays in use until the new one is complete.
    """
    problem = why_unusable(file, digest)
    if problem is None and not force:
        return file
    notify(f"preparing {file.stem} for this machine, once: {problem or task}")
    with filling(file.parent, keeps=lambda: not force and why_unusable(file, digest) is None) as folder:
        run_build([*arguments, "--runtime", "onnx", "--output", str(folder / file.name)], notify)
        if not _is_for(read_spec(folder / file.name), digest):
            raise BackendError(f"the weights changed while {file.name} was made from them; try again")
    return file


def why_unusable(file: Path, digest: str) -> str | None:
    """Why a cached file cannot be used, in a few words for the user; "" if it is missing, None if it can be used."""
    if not file.parent.is_dir():
        return ""
    problem = _why_unusable(file, digest)
    return None if problem is None else f"its file in the cache {problem}, exporting it anew"


def _why_unusable(file: Path, digest: str) -> str | None:
    try:
        spec = read_spec(file)
    except ModelError:
        return "is damaged"
    return None if _is_for(spec, digest) else "is out of date"


def _is_for(spec: ModelSpec, digest: str) -> bool:
    return spec.weights_sha256 == digest and spec.graph_version == GRAPH_VERSION


def run_build(arguments: Sequence[str], notify: Notify = discard_notice) -> Path:
    """Run `python -m engine build` as a child process and return the file it wrote.

    The child never outlives this process: any exception here, including KeyboardInterrupt, terminates it, and when this
    process is killed, the child's stdin closes and it exits.

    Raises:
        EngineError: the child reported one; it is raised with the same type.
        BackendError: the child ended without a reported error.
    """
    command = [sys.executable, "-m", "engine", "build", "--json", "--end-with-stdin", *arguments]
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        # The checkout is the working folder, so that the child finds `engine` and `models` in any case. The name of the
        # cache may be relative to ours.
        child = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            errors="replace",
            creationflags=flags,
            env={**os.environ, "PYTHONUTF8": "1", CACHE_VARIABLE: str(cache_dir())},
        )
        last: dict[str, str] = {}
        _running[threading.get_ident()] = child
        try:
            assert child.stdout is not None  # noqa: S101 - it is PIPE, see above
            for line in child.stdout:
                event = _event(line)
                if event.get("event") == "progress":
                    notify(event.get("message", ""))
                elif event:
                    last = event
            code = child.wait()
        finally:
            _running.pop(threading.get_ident(), None)
            _end(child)
        if code == 0 and last.get("event") == "done":
            return Path(last["output"])
        if last.get("event") == "error":
            raise _error_of(last)
        stderr.seek(0)
        lines = [line.strip() for line in stderr.read().splitlines() if line.strip()]
        reason = lines[-1] if lines else "no message"
        raise BackendError(f"building with {' '.join(arguments)} ended with code {code}: {reason}")


def end_builds_of(thread_ident: int | None) -> bool:
    """Terminate the child process of a thread's `run_build`, which then raises; False if there is none."""
    child = _running.get(thread_ident) if thread_ident is not None else None
    if child is None:
        return False
    child.terminate()
    return True


class BackgroundBuild:
    """One `python -m engine build` in the background.

    Args:
        arguments: of the build, e.g. ["--pose-model", "kcam_resnet18", "--runtime", "tensorrt"].
        notify: receives each line of progress, in the thread of the build.
    """

    def __init__(self, arguments: Sequence[str], notify: Callable[[str], None] = lambda _line: None) -> None:
        self._arguments, self._notify = list(arguments), notify
        self._cancelled = False
        self._file: Future[Path] = Future()
        self._thread = threading.Thread(target=self._run, name="engine build", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the build is still running."""
        return self._thread.is_alive()

    def result(self) -> Path:
        """Wait for the build and return its file.

        Raises:
            EngineError: the build failed or was cancelled.
        """
        return self._file.result()

    def cancel(self) -> None:
        """Terminate the build; its incomplete files are removed."""
        self._cancelled = True
        while self._thread.is_alive():
            # The child may not have started yet, or may have just ended.
            end_builds_of(self._thread.ident)
            self._thread.join(timeout=0.1)

    def _run(self) -> None:
        try:
            if self._cancelled:
                raise BackendError("the build was cancelled")
            self._file.set_result(run_build(self._arguments, self._notify))
        except EngineError as error:
            self._file.set_exception(BackendError("the build was cancelled") if self._cancelled else error)
        except Exception as error:  # `result` raises it in the caller's thread
            self._file.set_exception(BackendError(f"the build ended with {type(error).__name__}: {error}"))


def _event(line: str) -> dict[str, str]:
    """One JSON line of the child as text values; empty for any other line."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


def _error_of(event: dict[str, str]) -> EngineError:
    kind = getattr(errors, event.get("kind", ""), BackendError)
    is_known = isinstance(kind, type) and issubclass(kind, EngineError)
    error: EngineError = (kind if is_known else BackendError)(event.get("message", "the build failed"))
    return error


def _end(child: subprocess.Popen[str]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
