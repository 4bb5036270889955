"""The cache of compiled engines, found by what they were built from and for; never incomplete, stale ones reported."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.artifacts.atomic import is_filled, replacing
from engine.artifacts.engine_file import EngineKey, EngineRecord, parts_of, read_engine, read_record
from engine.artifacts.folders import cache_dir, is_entry, is_unfinished
from engine.errors import ModelError, OutputError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An engine of the cache: its file, and its record or the reason why that cannot be read."""

    file: Path
    record: EngineRecord | None
    damage: str = ""


def engines_dir() -> Path:
    """The folder with one sub-folder per engine."""
    return cache_dir() / "engines"


def entries() -> Iterator[Entry]:
    """All engines of the cache, by name; records are read, engine files are not."""
    folder = engines_dir()
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if not is_entry(entry):
            continue
        records = list(entry.glob("*.engine.build.json"))
        file = (
            records[0].with_name(records[0].name.removesuffix(".build.json")) if records else entry / "missing.engine"
        )
        try:
            yield Entry(file=file, record=read_record(file))
        except ModelError as error:
            yield Entry(file=file, record=None, damage=str(error))


def find(name: str, wanted: EngineKey) -> tuple[Path | None, str]:
    """The engine that fits a model, checked against its hash; or None, and the reason for the user.

    Args:
        name: stem of the weights file; used to report why a stale engine of the same name does not fit.
    """
    nearest: tuple[int, str] | None = None
    for entry in entries():
        if entry.record is None:
            continue
        key = entry.record.key
        reason = key.difference(wanted)
        if reason is None:
            try:
                read_engine(entry.file)
            except ModelError as error:
                reason = f"its file in the cache is damaged ({error})"
            else:
                return entry.file, ""
        elif key.runtime != wanted.runtime or entry.file.stem != name:
            continue
        alike = sum(getattr(key, field) == getattr(wanted, field) for field in asdict(wanted))
        if nearest is None or alike > nearest[0]:
            nearest = (alike, reason)
    if nearest is None:
        return None, "no engine has been built for it"
    return None, f"the existing engine does not fit, because {nearest[1]}"


def folder_of(name: str, key: EngineKey) -> Path:
    """The folder of an engine: a readable name followed by the hash of its key."""
    digest = hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()[:24]
    crop = "-crop" if key.with_crop else ""
    return engines_dir() / f"{name}-{key.runtime}-{key.precision}{crop}-{digest}.built"


def lock_path(folder: Path) -> Path:
    """The file that the builder of an engine locks."""
    return engines_dir() / "locks" / f"{folder.stem}.lock"


def timing_cache_path(key: EngineKey) -> Path:
    """The file of TensorRT's kernel timings, which shorten the next build on the same GPU."""
    machine = "|".join((key.runtime, key.runtime_version, key.gpu, *key.targets))
    return engines_dir() / "timing" / f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.bin"


def remove_superseded(name: str, newest: Path) -> list[str]:
    """Delete engines that the newest supersedes: same name, way of building and target, other weights or versions."""
    new_key = read_record(newest).key
    removed = []
    for entry in list(entries()):
        if entry.record is None or entry.file == newest or entry.file.stem != name:
            continue
        key = entry.record.key
        same = all(
            getattr(key, field) == getattr(new_key, field)
            for field in ("runtime", "targets", "gpu", "system", "precision", "with_crop")
        )
        if same and key.difference(new_key) is not None:
            shutil.rmtree(entry.file.parent, ignore_errors=True)
            removed.append(entry.file.parent.name)
    return removed


def removable(*, only_damaged: bool = False) -> list[Path]:
    """What this program made in its cache, or only the folders of damaged engines: nothing else that is there.

    Folders that a build is filling are left out.
    """
    found = []
    for entry in entries():
        if only_damaged and entry.record is not None:
            try:
                read_engine(entry.file)
                continue
            except ModelError:
                pass
        found.append(entry.file.parent)
    if not only_damaged:
        exports, engines = cache_dir() / "onnx", engines_dir()
        found += [path for path in sorted(exports.glob("*")) if is_entry(path)]
        left = [path for folder in (exports, engines) for path in sorted(folder.glob("*")) if is_unfinished(path)]
        found += [path for path in left if not is_filled(path)]
        found += sorted((engines / "timing").glob("[0-9a-f]" * 16 + ".bin"))
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def remove(path: Path) -> int:
    """Delete a file or a folder, and the folder it lay in where that is empty then; returns the bytes freed.

    Raises:
        OutputError: it cannot be deleted.
    """
    size = size_of(path)
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be deleted ({error.strerror})") from error
    with contextlib.suppress(OSError):  # it is not empty
        path.parent.rmdir()
    return size


def copy_out(engine_file: Path, output: Path) -> None:
    """Copy the files of an engine to the path that the user chose, the record last."""
    for source, target in zip(parts_of(engine_file), parts_of(output), strict=True):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
