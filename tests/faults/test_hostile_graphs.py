"""ONNX files, specs and engines that lie: refused before a runtime sees them, or met with one line when it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.backends import OpenOptions, open_detector_backend
from engine.detector import PersonDetector
from engine.detector_adopt import adopt_graph
from engine.engine_file import EngineKey, EngineRecord, read_engine, record_path, write_record
from engine.errors import EngineError, ModelError
from engine.model_spec import ModelSpec, TensorSpec, read_spec, refuse_external_data, sha256_of, spec_path, write_spec
from engine.skeleton import COCO17
from tests.faults.ledger import Fault

pytestmark = pytest.mark.fault("hostile graphs and engines")

SECRET = "../../secret.bin"


def a_detector(file: Path, *, rows: int = 3, columns: int = 6) -> Path:
    """A graph that takes pictures and gives the same boxes for each, with the metadata of an ultralytics export."""
    boxes = numpy_helper.from_array(np.zeros((1, rows, columns), np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["unused"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["unused"], ["lowest"], keepdims=0),
            helper.make_node("Add", ["weights", "lowest"], ["boxes"]),
        ],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, rows, columns])],
        [boxes],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, str(file))
    return file


def spec_of(file: Path, **changed: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "kind": "detector",
        "name": "some_detector",
        "precision": "fp32",
        "input_size_wh": (64, 64),
        "inputs": (TensorSpec(name="images", shape=("B", "H", "W", 3), dtype="uint8"),),
        "outputs": (TensorSpec(name="boxes", shape=("B", "M", 6), dtype="float32"),),
        "skeleton": None,
        "class_names": ("person",),
        "file_sha256": sha256_of(file),
        "weights_sha256": "0" * 64,
        "graph_version": 1,
        "made_with": {},
    }
    return ModelSpec(**{**values, **changed})


def make_external(tensor: Any, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("offset", "0"), ("location", location), ("length", "72")):
        tensor.external_data.add(key=key, value=value)


def in_an_initializer(proto: Any) -> None:
    make_external(proto.graph.initializer[0], SECRET)


def in_a_constant(proto: Any) -> None:
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(18, np.float32)))
    make_external(node.attribute[0].t, "/etc/passwd")
    proto.graph.node.insert(0, node)


def in_a_branch(proto: Any) -> None:
    inner = helper.make_graph([], "inner", [], [], [numpy_helper.from_array(np.zeros(18, np.float32), "w")])
    make_external(inner.initializer[0], SECRET)
    proto.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))


def in_a_function(proto: Any) -> None:
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(18, np.float32)))
    make_external(node.attribute[0].t, SECRET)
    proto.functions.append(helper.make_function("d", "f", [], ["c"], [node], [helper.make_opsetid("", 17)]))


PLACES: tuple[Callable[[Any], None], ...] = (in_an_initializer, in_a_constant, in_a_branch, in_a_function)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_weights_in_other_files_are_refused(place: Callable[[Any], None], tmp_path: Path, fault: Fault) -> None:
    """As a foreign export, and with a spec beside it that vouches for it."""
    fault.more(3)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(np.ones(18, np.float32).tobytes())
    file = a_detector(folder / "foreign.onnx")
    proto = onnx.load(str(file))
    place(proto)
    proto.metadata_props.add(key="task", value="detect")
    proto.metadata_props.add(key="names", value="{0: 'person'}")
    file.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="keeps weights in other files"):
        adopt_graph(file, None)
    write_spec(file, spec_of(file))
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(ModelError, match="keeps weights in other files"):
            open_detector_backend(file, backend=backend, options=OpenOptions(device="cpu"))


def test_longer_written_lengths_hide_nothing(tmp_path: Path, fault: Fault) -> None:
    """Protobuf takes lengths in more bytes than they need: onnx reads these, so they must be seen."""
    file = a_detector(tmp_path / "x.onnx")
    proto = onnx.load(str(file))
    make_external(proto.graph.initializer[0], "w.bin")
    plain = b"\x0a\x08location"
    entry = next(e for e in proto.graph.initializer[0].external_data if e.key == "location").SerializeToString()
    forms = (
        b"\x0a\x88\x00location",
        b"\x0a\x88\x80\x00location",
        b"\x8a\x00\x08location",
        b"\x8a\x80\x00\x88\x00location",
    )
    fault.more(len(forms))
    for form in forms:
        written = entry.replace(plain, form)
        assert onnx.StringStringEntryProto.FromString(written).key == "location"
        file.write_bytes(b"any bytes" * 9 + written)
        with pytest.raises(ModelError, match="other files"):
            refuse_external_data(file)


def test_words_that_only_look_alike_are_let_through(tmp_path: Path) -> None:
    file = a_detector(tmp_path / "x.onnx")
    proto = onnx.load(str(file))
    proto.doc_string = "the location of people; location; \x08location"
    proto.graph.node[0].name = "location"
    file.write_bytes(proto.SerializeToString())
    refuse_external_data(file)
    (tmp_path / "nothing.onnx").touch()
    refuse_external_data(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 1000, b"\x08\x08" * 500], ids=range(4))
def test_rubbish_with_a_spec_is_one_line(content: bytes, tmp_path: Path, fault: Fault) -> None:
    fault.more(2)
    file = tmp_path / "rubbish.onnx"
    file.write_bytes(content)
    write_spec(file, spec_of(file))
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(EngineError) as caught:
            open_detector_backend(file, backend=backend, options=OpenOptions(device="cpu"))
        assert "\n" not in str(caught.value)


FORGED: dict[str, dict[str, Any]] = {
    "an output that is not there": {"outputs": (TensorSpec(name="candidates", shape=("B", 5, "A"), dtype="float32"),)},
    "an input that is not there": {"inputs": (TensorSpec(name="photos", shape=("B", "H", "W", 3), dtype="uint8"),)},
    "an input of another kind": {"inputs": (TensorSpec(name="images", shape=("B", 3, "H", "W"), dtype="float32"),)},
    "an input of another size": {"inputs": (TensorSpec(name="images", shape=(4, "H", "W", 3), dtype="uint8"),)},
    "rows of another length": {"outputs": (TensorSpec(name="boxes", shape=("B", "M", 6), dtype="float32"),)},
}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("what", sorted(FORGED))
def test_a_spec_that_does_not_fit_its_graph_is_one_line(what: str, backend: str, tmp_path: Path) -> None:
    file = a_detector(tmp_path / "forged.onnx", columns=4 if what == "rows of another length" else 6)
    write_spec(file, spec_of(file, **FORGED[what]))
    with pytest.raises(EngineError) as caught:
        opened = open_detector_backend(file, backend=backend, options=OpenOptions(device="cpu", threads=1))
        with opened.backend:
            PersonDetector(opened.backend).detect(np.zeros((48, 64, 3), np.uint8))
    assert "\n" not in str(caught.value)


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


# Engines


def an_engine(folder: Path) -> Path:
    """Three files that belong together; the first is no engine of any runtime."""
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


def test_the_engine_that_is_forged_below_is_whole(tmp_path: Path) -> None:
    spec, record = read_engine(an_engine(tmp_path))
    assert spec.kind == "pose"
    assert record.state == "passed"


def test_an_engine_that_was_exchanged_is_refused(tmp_path: Path, fault: Fault) -> None:
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
    """The place of every value in a tree of JSON."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [at, *(place for key, value in inner for place in all_places(value, (*at, key)))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_spec_or_record_is_read_or_refused(
    parts: tuple[Path, bytes, bytes], fault: Fault, data: st.DataObject
) -> None:
    """One value of a whole spec or record is exchanged for any other."""
    fault.more(150)
    file, spec, record = parts
    spec_path(file).write_bytes(spec)
    record_path(file).write_bytes(record)
    path = data.draw(st.sampled_from([spec_path(file), record_path(file)]))
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
    file, spec, record = parts
    spec_path(file).write_bytes(spec)
    record_path(file).write_bytes(record)
    path = data.draw(st.sampled_from([spec_path(file), record_path(file)]))
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


def test_a_spec_that_was_copied_to_another_file_is_refused(tmp_path: Path) -> None:
    first, second = a_detector(tmp_path / "first.onnx"), a_detector(tmp_path / "second.onnx", rows=4)
    write_spec(first, spec_of(first))
    shutil.copy(spec_path(first), spec_path(second))
    with pytest.raises(ModelError, match="SHA-256 differs"):
        read_spec(second)
