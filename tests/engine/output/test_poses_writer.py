"""Poses files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError
from engine.output.poses_writer import Extra, PosesWriter, csv_columns
from engine.skeleton import COCO17
from engine.types import Poses
from tests.engine.clips import (
    NTSC,
    ClipSpec,
    ConstantPipeline,
    left_in,
    make_clip,
    one_person,
    picture,
    run_export,
    save_photo,
)

# Poses


def test_poses_match_the_video_line_for_line(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(rate=NTSC, frames=12))
    summary = run_export(clip, tmp_path / "o.mp4", ConstantPipeline(empty=[3, 4]), poses=[tmp_path / "o.jsonl"])
    assert (summary.frames, summary.frames_with_people) == (12, 10)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["time_s"] for line in lines] == [round(float(i / NTSC), 6) for i in range(12)]
    assert lines[3]["people"] == []
    (person,) = lines[0]["people"]
    assert list(person) == ["id", "box_xyxy", "score", "keypoints"]
    assert person["id"] is None
    assert person["box_xyxy"] == [88.0, 66.0, 152.0, 114.0]
    assert person["score"] == 0.75
    assert len(person["keypoints"]) == 17
    assert person["keypoints"][0] == [96.0, 72.0, 0.1]


def test_csv_and_coco_hold_the_same_values(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=3))
    for name in ("o.jsonl", "o.csv", "o.json"):
        run_export(clip, tmp_path / f"{name}.mp4", ConstantPipeline(empty=[1]), poses=[tmp_path / name])
    person = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[2])["people"][0]
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == csv_columns(COCO17)
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    assert (rows[1]["score"], rows[1]["left_wrist_x"]) == ("", "")
    wrist = COCO17.keypoint_index("left_wrist")
    from_csv = [float(rows[2][f"left_wrist_{part}"]) for part in ("x", "y", "score")]
    assert from_csv == person["keypoints"][wrist]
    assert [float(rows[2][f"box_{c}"]) for c in ("x1", "y1", "x2", "y2")] == person["box_xyxy"]
    results = json.loads((tmp_path / "o.json").read_text())
    assert [result["image_id"] for result in results] == [0, 2]
    assert results[1]["category_id"] == 1
    assert results[1]["keypoints"] == [value for point in person["keypoints"] for value in point]
    assert results[1]["bbox"] == [88.0, 66.0, 64.0, 48.0]


def test_coco_results_load_where_coco_is_scored(tmp_path: Path) -> None:
    """Photos named as COCO names them give results under COCO's own image ids, readable by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("000000000139.jpg", "000000000785.jpg"):
        save_photo(folder / name, picture(64, 48))
    run_export(folder, tmp_path / "out", poses=[tmp_path / "r.json"])
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": 139}, {"id": 785}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    truth.createIndex()
    assert len(truth.loadRes(str(tmp_path / "r.json")).getAnnIds()) == 2


def test_no_nan_ever_reaches_a_poses_file(tmp_path: Path) -> None:
    good = one_person(picture(64, 48))
    points = good.keypoints_xy.copy()
    points[0, 0] = (np.nan, np.inf)
    broken = Poses(
        keypoints_xy=points,
        scores=good.scores,
        boxes_xyxy=np.array([[np.nan, -0.0, 1, 2]], np.float32),
        box_scores=np.array([np.nan], np.float32),
        person_scores=np.array([np.nan], np.float32),
        track_ids=np.array([7], np.int64),
    )
    for suffix in (".jsonl", ".csv", ".json"):
        writer = PosesWriter(PartFile(tmp_path / f"p{suffix}"), COCO17)
        writer.write(0, 0.0, broken)
        writer.finish()
        text = writer.commit().read_text()
        for word in ("nan", "inf", "-0.0"):
            assert word not in text.lower(), suffix
    person = json.loads((tmp_path / "p.jsonl").read_text())["people"][0]
    assert person["id"] == 7
    assert person["keypoints"][0] == [0.0, 0.0, 0.0]


def test_unknown_poses_suffix_names_the_known_ones(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=2))
    with pytest.raises(OptionError, match=r"\.csv, \.json, \.jsonl"):
        run_export(clip, tmp_path / "o.mp4", poses=[tmp_path / "o.txt"])
    assert left_in(tmp_path, clip) == []


def test_angles_counts_and_who_is_followed_are_in_every_form(tmp_path: Path) -> None:
    names = tuple(angle.name for angle in COCO17.named_angles)
    degrees = np.full((1, len(names)), 90.04, np.float32)
    degrees[0, names.index("trunk")] = np.nan
    poses = replace(
        one_person(picture(160, 120)), followed=np.array([True]), angle_names=names, angles_deg=degrees,
        repetitions=np.array([4], np.int64),
    )  # fmt: skip
    for name in ("o.jsonl", "o.csv", "o.json"):
        extras: tuple[Extra, ...] = ("followed", "angles", "repetitions")
        writer = PosesWriter(PartFile(tmp_path / name), COCO17, extras=extras)
        writer.write(0, 0.0, poses)
        writer.write(1, 0.1, Poses.empty(17))
        writer.finish()
        writer.commit()
    person = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])["people"][0]
    assert (person["followed"], person["repetitions"]) == (True, 4)
    assert person["angles"]["left_elbow"] == 90.0 and person["angles"]["trunk"] is None
    (result,) = json.loads((tmp_path / "o.json").read_text())
    assert {name: result[name] for name in ("followed", "angles", "repetitions")} == {
        name: person[name] for name in ("followed", "angles", "repetitions")
    }
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*csv_columns(COCO17), "followed", *(f"{name}_deg" for name in names), "repetitions"]
    assert (rows[0]["followed"], rows[0]["left_elbow_deg"], rows[0]["trunk_deg"]) == ("1", "90.0", "")
    assert rows[0]["repetitions"] == "4" and rows[1]["repetitions"] == ""
