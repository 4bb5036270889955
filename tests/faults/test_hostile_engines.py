"""Forged or damaged specs and records of engines: one line, before a runtime sees the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.artifacts.engine_file import EngineKey, EngineRecord, read_engine, record_path, write_record
from engine.artifacts.model_spec import TensorSpec, spec_path, write_spec
from engine.errors import ModelError
from engine.skeleton import COCO17
from tests.faults.hostile_graphs import spec_of
from tests.faults.ledger import Fault

pytestmark = pytest.mark.fault("hostile graphs and engines")


def an_engine(folder: Path) -> Path:
    """Three matching files; the first is no engine of any runtime."""
    file = folder / "pose.engine"
    file.write_bytes(b"compiled")
    skeleton = {"kind": "pose", "skeleton": COCO17, "weights_sha256": "a" * 64, "graph_version": 3}
    outputs = (TensorSpec(name="keypoints", shape=("N", 17, 3), dtype="float32"),)
    write_spec(file, spec_of(file, outputs=outputs, **skeleton))
    key = EngineKey(
        weights_sha256="a" * 64, graph_version=3, runtime="tensorrt", runtime_version="10.13.0", targets=("sm89",),
        gpu="", precision="fp16", max_people=16, with_crop=False,
    )  # fmt: skip
    write_record(file, EngineRecord(key=key, state="passed", report="", weights="", built_s=1.0))
    return file


def json_forms() -> dict[str, bytes]:
    return {
        "5 MB": b'{"format": 1, "x": "' + b"x" * 5_000_000 + b'"}',
        "deep lists": b"[" * 100_000 + b"]" * 100_000,
        "deep fields": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "no end": b'{"format": 1',
        "not UTF-8": b'{"format": "\xff\xfe"}',
        "digits": b'{"format": ' + b"1" * 100_000 + b"}",
        "a list": b"[1, 2, 3]",
        "nothing": b"",
        "a number": b"1",
        "not a number": b'{"format": NaN}',
    }


@pytest.mark.parametrize("what", sorted(json_forms()))
def test_json_that_is_huge_deep_or_broken_is_refused(what: str, tmp_path: Path, fault: Fault) -> None:
    """The spec, and the record of an engine's build."""
    fault.more(2)
    file = an_engine(tmp_path)
    whole = spec_path(file).read_bytes()
    spec_path(file).write_bytes(json_forms()[what])
    with pytest.raises(ModelError) as caught:
        read_engine(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    spec_path(file).write_bytes(whole)
    record_path(file).write_bytes(json_forms()[what])
    with pytest.raises(ModelError) as caught:
        read_engine(file)
    assert len(str(caught.value)) < 600


def test_the_unmodified_engine_loads(tmp_path: Path) -> None:
    spec, record = read_engine(an_engine(tmp_path))
    assert spec.kind == "pose"
    assert record.state == "passed"


def test_a_replaced_engine_is_refused(tmp_path: Path, fault: Fault) -> None:
    fault.more(4)
    file = an_engine(tmp_path)
    file.write_bytes(b"compilee")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        read_engine(file)
    other = tmp_path / "other"
    other.mkdir()
    file = an_engine(other)
    values = json.loads(record_path(file).read_text())
    values["key"]["weights_sha256"] = "b" * 64
    record_path(file).write_text(json.dumps(values))
    with pytest.raises(ModelError, match="do not belong together"):
        read_engine(file)
    for part in (record_path(file), spec_path(file)):
        part.unlink()
        with pytest.raises(ModelError, match=r"no (spec|record)"):
            read_engine(file)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    file = an_engine(tmp_path_factory.mktemp("engine"))
    return file, spec_path(file).read_bytes(), record_path(file).read_bytes()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400), st.just("\x1b[2J"),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3)), max_size=3), st.just({}), st.just([[]]),
)  # fmt: skip


def all_places(values: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON tree."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [at, *(place for key, value in inner for place in all_places(value, (*at, key)))]


def file_and_part(parts: tuple[Path, bytes, bytes], data: st.DataObject) -> tuple[Path, Path]:
    """A valid engine, and its spec or its record."""
    file, spec, record = parts
    spec_path(file).write_bytes(spec)
    record_path(file).write_bytes(record)
    return file, data.draw(st.sampled_from([spec_path(file), record_path(file)]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_spec_or_record_is_read_or_refused(
    parts: tuple[Path, bytes, bytes], fault: Fault, data: st.DataObject
) -> None:
    """One value of a valid spec or record is replaced by any other."""
    fault.more(150)
    file, path = file_and_part(parts, data)
    values = json.loads(path.read_bytes())
    places = all_places(values)
    place = data.draw(st.sampled_from(places[1:]))
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(VALUES)
    path.write_text(json.dumps(values))
    try:
        read, _ = read_engine(file)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1, str(error)
    else:
        assert read.name.isprintable()
        assert max(read.input_size_wh) <= 8192


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_changed_in_a_spec_or_record_are_read_or_refused(
    parts: tuple[Path, bytes, bytes], fault: Fault, data: st.DataObject
) -> None:
    fault.more(150)
    file, path = file_and_part(parts, data)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        if how == "set":
            content[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del content[at + 1 :]
        elif how == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=6))
        else:
            del content[at : at + data.draw(st.integers(0, 40))]
        content = content or bytearray(b" ")
    path.write_bytes(bytes(content))
    try:
        read_engine(file)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1, str(error)
