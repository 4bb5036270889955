"""The Python API: what it gives is what the command line writes, and it leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import engine
import main
from engine import Pipeline, draw, open_pipeline
from engine.option_table import options_of
from engine.options import PoseOptions
from engine.types import UInt8Array
from tests.engine.clips import save_photo

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = {
    "AttentionMaps", "BackendError", "Detections", "EngineError", "Frame", "FrameResult", "ModelError", "OptionError",
    "OutputError", "OverlayOptions", "Pipeline", "Poses", "Skeleton", "SourceError", "draw", "open_pipeline",
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    with open_pipeline(want_attention=True, want_areas=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def exact() -> Iterator[Pipeline]:
    with open_pipeline(backend="openvino", precision="fp32") as opened:
        yield opened


@pytest.fixture(scope="module")
def street(photo_paths: list[Path]) -> UInt8Array:
    return np.asarray(cv2.imread(str(photo_paths[0])), np.uint8)


def written(tmp_path: Path, *arguments: str) -> list[list[dict[str, Any]]]:
    """The people of each frame, as the command line writes them."""
    poses = tmp_path / "poses.jsonl"
    output = ["--output", str(tmp_path / f"out{Path(arguments[0]).suffix or '.mp4'}"), "--poses", str(poses), "--quiet"]
    assert main.main(["--video", *arguments, *output, "--backend", "openvino", "--precision", "fp32"]) == 0
    return [json.loads(line)["people"] for line in poses.read_text().splitlines()]


def same_people(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [person["id"] for person in found] == [person["id"] for person in expected]
    for one, other in zip(found, expected, strict=True):
        # What is computed in batches of another length differs in the last digits.
        for name in ("box_xyxy", "score", "keypoints"):
            np.testing.assert_allclose(one[name], other[name], atol=0.05)


def test_the_public_names_are_these_and_documented() -> None:
    assert set(engine.__all__) == PUBLIC <= set(dir(engine))
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in PUBLIC:
        assert getattr(engine, name).__name__ == name
        assert f"`{name}" in text, f"docs/python.md does not say what {name} is"
    assert [item.name for item in options_of(PoseOptions) if f"`{item.name}`" not in text] == []
    with pytest.raises(AttributeError, match="no attribute 'open_pipelin'"):
        engine.open_pipelin  # noqa: B018


def test_importing_engine_imports_no_package() -> None:
    code = "import sys; before = set(sys.modules); import engine; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    new = {name.partition(".")[0] for name in done.stdout.split()}
    assert new <= {"engine", *sys.stdlib_module_names}


def test_a_picture_gives_what_the_command_line_writes(
    exact: Pipeline, street: UInt8Array, photo_paths: list[Path], tmp_path: Path
) -> None:
    result = exact(street)
    (expected,) = written(tmp_path, str(photo_paths[0]))
    assert len(expected) >= 3
    same_people(result.to_dict()["people"], expected)
    assert result.poses.track_ids is None
    assert exact.skeleton.keypoint_names[9] == "left_wrist"


def test_a_stream_gives_what_the_command_line_writes(exact: Pipeline, tmp_path: Path) -> None:
    found = [result.to_dict() for result in itertools.islice(exact.stream("demo"), 8)]
    assert [frame["frame"] for frame in found] == list(range(8))
    expected = written(tmp_path, "demo", "--max-frames", "8")
    assert len(expected) == 8 and expected[-1]
    for frame, people in zip(found, expected, strict=True):
        same_people(json.loads(json.dumps(frame["people"])), people)


def test_pictures_with_a_time_are_a_sequence_and_those_without_do_not_disturb_it(
    pipeline: Pipeline, street: UInt8Array
) -> None:
    alone = pipeline(street).to_dict()["people"]
    shifted = np.roll(street, 40, axis=1)
    pipeline.restart()
    ids = []
    for number, image in enumerate((street, shifted, street)):
        found = pipeline(image, time_s=number / 25).poses.track_ids
        assert found is not None
        ids.append(set(found.tolist()))
        assert pipeline(street).to_dict()["people"] == alone
    assert ids[0] and ids[0] & ids[1] & ids[2]


def test_a_stream_that_is_left_early_leaves_no_thread(pipeline: Pipeline) -> None:
    before = set(threading.enumerate())
    for result in pipeline.stream("demo"):
        # A picture in between: stream and call share the networks.
        assert len(pipeline(result.frame.image_bgr).poses) > 0
        break
    assert set(threading.enumerate()) == before


def test_maps_come_on_request_and_can_be_drawn(pipeline: Pipeline, street: UInt8Array) -> None:
    result = pipeline(street)
    maps = result.attention
    assert maps is not None and maps.attention is not None and maps.areas is not None
    np.testing.assert_allclose(maps.attention.sum(axis=1), 1, atol=0.02)
    np.testing.assert_allclose(maps.areas.sum(axis=(2, 3)), 1, atol=0.02)
    before = street.copy()
    plain, tinted = draw(street, result), draw(street, result, attention="areas:left_wrist", boxes=True)
    assert (street == before).all() and (plain != street).any() and (tinted != plain).any()


def test_boxes_can_be_given(exact: Pipeline, street: UInt8Array, tmp_path: Path) -> None:
    found = exact(street)
    file = tmp_path / "boxes.jsonl"
    file.write_text(json.dumps(found.to_dict()) + "\n")
    with open_pipeline(boxes=file, backend="openvino", precision="fp32") as opened:
        given = opened(street)
        (streamed,) = opened.stream(save_photo(tmp_path / "street.png", street))
    assert len(found.poses) >= 3
    np.testing.assert_allclose(given.detections.boxes_xyxy, found.poses.boxes_xyxy, atol=0.01)
    np.testing.assert_allclose(streamed.detections.boxes_xyxy, found.poses.boxes_xyxy, atol=0.01)


def test_results_are_those_of_supervision(pipeline: Pipeline, street: UInt8Array) -> None:
    import supervision

    result = pipeline(street, time_s=0.0)
    points = result.to_supervision()
    assert isinstance(points, supervision.KeyPoints) and len(points) == len(result.poses)
    np.testing.assert_array_equal(points.xy, result.poses.keypoints_xy)
    np.testing.assert_array_equal(points.data["track_id"], result.poses.track_ids)
    assert len(pipeline(np.zeros((90, 120, 3), np.uint8)).to_supervision()) == 0


def test_what_does_not_fit_is_an_engine_error(pipeline: Pipeline, street: UInt8Array) -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"backen": "openvino"}, "Did you mean 'backend'"),
        ({"backend": "openvimo"}, "Did you mean 'openvino'"),
        ({"max_people": "0"}, "not a whole number"),
        ({"max_people": [3]}, "at least 1"),
        ({"tracking": "no"}, "True or False"),
        ({"pose_model": "kcam_resnet19"}, "Did you mean"),
        ({"max_people": 4.5}, "max_people: '4.5' is not a whole number"),
    )
    for options, message in refused:
        with pytest.raises(engine.EngineError, match=message):
            open_pipeline(**options)
    with pytest.raises(engine.OptionError, match="float64"):
        pipeline(street / 255)  # type: ignore[arg-type]
    with pytest.raises(engine.SourceError, match="does not exist"):
        next(pipeline.stream("no_such_file.mp4"))
    result = pipeline(street)
    with pytest.raises(engine.OptionError, match="has shape"):
        draw(street[:50], result)
    with pytest.raises(engine.OptionError, match="Did you mean 'boxes'"):
        draw(street, result, boxe=True)


def test_maps_that_were_not_asked_for_and_a_closed_pipeline_say_so(street: UInt8Array) -> None:
    with open_pipeline() as opened:
        result = opened(street)
        with pytest.raises(engine.OptionError, match="want_attention=True"):
            draw(street, result, attention="left_wrist")
    opened.close()
    with pytest.raises(engine.BackendError, match="closed"):
        opened(street)
