"""The spec of a compiled file: valid, or refused with the reason."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.artifacts.model_spec import ModelSpec, TensorSpec, read_spec, sha256_of, spec_path, write_spec
from engine.errors import ModelError, OptionError
from engine.skeleton import COCO17, Skeleton


def make(file: Path) -> ModelSpec:
    return ModelSpec(
        kind="pose",
        name="kcam_resnet18",
        precision="fp32",
        input_size_wh=(192, 256),
        inputs=(TensorSpec(name="crops", shape=("people", 256, 192, 3), dtype="uint8"),),
        outputs=(TensorSpec(name="keypoints", shape=("people", 17, 3), dtype="float32"),),
        skeleton=COCO17,
        class_names=("person",),
        file_sha256=sha256_of(file),
        weights_sha256="0" * 64,
        graph_version=1,
        made_with={"torch": "2.15"},
    )


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"not really a graph")
    write_spec(file, make(file))
    return file


def test_round_trip(compiled: Path) -> None:
    assert read_spec(compiled) == make(compiled)


def test_a_changed_file_is_refused(compiled: Path) -> None:
    compiled.write_bytes(b"not really a grapH")
    with pytest.raises(ModelError, match="SHA-256"):
        read_spec(compiled)


def test_a_file_without_spec_is_refused(compiled: Path) -> None:
    spec_path(compiled).unlink()
    with pytest.raises(ModelError, match="no spec beside it"):
        read_spec(compiled)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 99),
        (("kind",), "poem"),
        (("inputs", 0, "dtype"), "complex64"),
        (("outputs", 0, "shape", 1), -3),
        (("outputs", 0, "shape", 1), 10**9),
        (("skeleton", "edges", 0), [3, 99]),
        (("skeleton", "oks_sigmas"), [0.1]),
        (("skeleton",), None),
        (("name",), None),
        (("class_names", 0), None),
        (("input_size_wh",), [1]),
        (("class_names",), []),
    ],
)
def test_a_forged_spec_is_refused(compiled: Path, path: tuple[Any, ...], value: Any) -> None:
    values = json.loads(spec_path(compiled).read_text())
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    spec_path(compiled).write_text(json.dumps(values))
    with pytest.raises(ModelError):
        read_spec(compiled)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["kind", "inputs", "outputs", "skeleton", "class_names", "input_size_wh", "made_with"]), JSON)
def test_any_value_in_any_field_is_read_or_refused_in_one_way(field: str, value: Any) -> None:
    values = make(Path(__file__)).to_dict()
    values[field] = value
    with contextlib.suppress(ModelError):
        assert ModelSpec.from_dict(values).to_dict()["format"] == values["format"]


def test_skeleton_survives_json() -> None:
    assert Skeleton.from_dict(json.loads(json.dumps(COCO17.to_dict()))) == COCO17


def test_coco_flip_order_swaps_left_and_right_names() -> None:
    for index, other in enumerate(COCO17.flip_order):
        name = COCO17.keypoint_names[index]
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert COCO17.keypoint_names[other] == swapped


def test_an_unknown_keypoint_names_the_nearest() -> None:
    assert COCO17.keypoint_index("Left Wrist") == 9
    with pytest.raises(OptionError, match="Did you mean 'left_wrist'"):
        COCO17.keypoint_index("left_wrst")
