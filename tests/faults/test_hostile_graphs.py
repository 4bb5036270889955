"""Forged ONNX files and specs: refused before a runtime sees them, or with one line when it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.artifacts import other_files
from engine.artifacts.model_spec import TensorSpec, read_spec, refuse_external_data, spec_path, write_spec
from engine.artifacts.other_files import names_other_files
from engine.backends import OpenOptions, open_detector_backend
from engine.build.detector_adopt import adopt_graph
from engine.detection.detector import PersonDetector
from engine.errors import EngineError, ModelError
from tests.faults.hostile_graphs import a_detector, make_external, spec_of
from tests.faults.ledger import Fault

pytestmark = pytest.mark.fault("hostile graphs and engines")

SECRET = "../../secret.bin"


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
    """As a foreign export, and with a matching spec beside it."""
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
    """Protobuf accepts lengths in more bytes than necessary: onnx reads these, so they must be detected."""
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
        whole = field(7, field(5, field(13, written)))
        assert onnx.ModelProto.FromString(whole).graph.initializer[0].external_data[0].value == "w.bin"
        for content in (whole, b"any bytes" * 9 + written):
            file.write_bytes(content)
            with pytest.raises(ModelError, match="other files"):
                refuse_external_data(file)


def called_location(file: Path) -> Any:
    """A detector whose input, nodes, weights and metadata are named like the entry of external data."""
    a_detector(file)
    proto = onnx.load(str(file))
    proto.doc_string = "the location of people; location; \x08location"
    proto.graph.node[0].name = proto.graph.input[0].name = proto.graph.node[0].input[0] = "location"
    proto.graph.value_info.append(helper.make_tensor_value_info("location", TensorProto.UINT8, ["B", "H", "W", 3]))
    proto.metadata_props.add(key="location", value="indoors")
    proto.functions.append(helper.make_function("location", "location", ["location"], ["x"], [], []))
    file.write_bytes(proto.SerializeToString())
    return proto


def test_a_graph_with_an_input_called_location_runs(tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    proto = called_location(file)
    del proto.functions[:]
    file.write_bytes(proto.SerializeToString())
    assert file.read_bytes().count(b"\x0a\x08location") >= 3, "as the entry that names another file is written"
    write_spec(file, spec_of(file, inputs=(TensorSpec(name="location", shape=("B", "H", "W", 3), dtype="uint8"),)))
    with open_detector_backend(file, backend="onnxruntime", options=OpenOptions(device="cpu")).backend as backend:
        found = backend.infer({"location": np.zeros((1, 8, 8, 3), np.uint8)}, ["boxes"])
    assert found["boxes"].shape == (1, 3, 6)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_harmless_strings_hide_no_external_file(place: Callable[[Any], None], tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    proto = called_location(file)
    refuse_external_data(file)
    place(proto)
    file.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="other files"):
        refuse_external_data(file)


def test_an_empty_file_references_no_other(tmp_path: Path) -> None:
    """So what is wrong with it is for the runtime to say, in one line."""
    file = tmp_path / "nothing.onnx"
    file.touch()
    write_spec(file, spec_of(file))
    assert read_spec(file) == spec_of(file)
    with pytest.raises(EngineError, match=r"nothing\.onnx") as caught:
        open_detector_backend(file, backend="onnxruntime", options=OpenOptions())
    assert "\n" not in str(caught.value)


def varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low]) if value < 0x80 else bytes([low | 0x80]) + varint(value >> 7)


def field(number: int, content: bytes) -> bytes:
    """A message or text inside a message, as protobuf writes it."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def nested(innermost: bytes, depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, and so on."""
    heads, length = [], len(innermost)
    for number in (6, 5, 1) * depth:
        heads.append(varint(number << 3 | 2) + varint(length))
        length += len(heads[-1])
    return varint(7 << 3 | 2) + varint(length) + b"".join(reversed(heads)) + innermost


ENTRY = field(13, field(1, b"location") + field(2, b"w.bin"))


def test_any_depth_is_searched(fault: Fault) -> None:
    fault.more(2)
    assert not names_other_files(nested(field(1, field(1, b"location")), 50_000))
    assert names_other_files(nested(field(5, ENTRY), 50_000))


@pytest.mark.parametrize(
    "content",
    [
        field(7, field(1, field(1, b"location")) + field(2, b"name"))[:-1],  # cut short
        field(7, field(1, field(1, b"location")))
        + b"\x0b"
        + field(7, field(5, ENTRY)),  # a group, which ONNX does not use
        field(99, field(1, b"location")),  # a later ONNX may use this field
        field(7, field(1, field(1, b"location"))) + b"\x80" * 40 + field(7, field(5, ENTRY)),
        b"\x3a\xff\xff\xff\xff\x7f" + field(1, field(1, b"location")),  # longer than any memory
        field(7, field(1, field(1, b"location")) * 100_001),  # endless
    ],
    ids=["cut", "group", "unknown", "varint", "length", "endless"],
)
def test_unparsable_content_is_refused(content: bytes) -> None:
    assert names_other_files(content)


def test_a_file_of_very_many_small_fields_terminates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_files, "_MOST_FIELDS", 1000)
    assert not names_other_files(b"\x08\x01" * 900 + field(7, field(1, field(1, b"location"))))
    assert names_other_files(b"\x08\x01" * 1000 + field(7, field(1, field(1, b"location"))))


def tensors_of(message: Any) -> Iterator[Any]:
    """Every tensor of a message, as the onnx package reads it."""
    if isinstance(message, onnx.TensorProto):
        yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in value if hasattr(value, "__len__") and not hasattr(value, "ListFields") else [value]:
                yield from tensors_of(inner)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_external_file_of_onnx_is_refused(data: st.DataObject) -> None:
    """Bytes of a file with every kind of external data are changed; the reference is what onnx still reads."""
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["location"], ["y"])], "g", [], [],
            [numpy_helper.from_array(np.zeros(18, np.float32), "w")],
        )
    )  # fmt: skip
    data.draw(st.sampled_from(PLACES))(proto)
    content = bytearray(proto.SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    try:
        read = onnx.ModelProto.FromString(bytes(content))
    except Exception:  # protobuf raises many kinds for damaged bytes
        return
    if any(entry.key == "location" for tensor in tensors_of(read) for entry in tensor.external_data):
        assert names_other_files(bytes(content))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 1000, b"\x08\x08" * 500], ids=range(4))
def test_random_bytes_with_a_spec_are_one_line(content: bytes, tmp_path: Path, fault: Fault) -> None:
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


def test_a_spec_that_was_copied_to_another_file_is_refused(tmp_path: Path) -> None:
    first, second = a_detector(tmp_path / "first.onnx"), a_detector(tmp_path / "second.onnx", rows=4)
    write_spec(first, spec_of(first))
    shutil.copy(spec_path(first), spec_path(second))
    with pytest.raises(ModelError, match="SHA-256 differs"):
        read_spec(second)
