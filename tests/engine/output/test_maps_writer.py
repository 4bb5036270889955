"""Attention maps as numbers: what is in the file, and where the maps lie in the frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError
from engine.geometry import apply_affines
from engine.heatmap import decode_heatmaps
from engine.output.maps_writer import MapsWriter
from engine.skeleton import COCO17
from engine.types import Frame
from tests.engine.overlay_pictures import INPUT_WH, attention_maps, empty_maps, grey, grid, result_of

BOXES = [(100.0, 50.0, 220.0, 330.0), (300.0, 200.0, 420.0, 260.0)]


def test_maps_and_affines_read_back(tmp_path: Path) -> None:
    maps = empty_maps(2)
    maps[0, 9, 32, 24] = maps[1, 9, 5, 40] = 1.0
    maps += np.random.default_rng(0).random(maps.shape, np.float32) / 100
    attention = attention_maps(maps, BOXES)
    writer = MapsWriter(PartFile(tmp_path / "maps.npz"), COCO17)
    two = result_of(grey(640, 480), [grid(50, 50, 50)] * 2, boxes=BOXES, ids=[4, 7], attention=attention)
    nobody = result_of(grey(640, 480), [], attention=attention_maps(empty_maps(0), []))
    for number, result in ((0, nobody), (3, two), (12, two)):
        moved = replace(result, frame=Frame(image_bgr=grey(640, 480), index=number, timestamp_s=number / 10))
        writer.write(moved, number / 10)
    writer.finish()
    file = np.load(writer.commit(), allow_pickle=False)
    assert file["frame"].tolist() == [3, 3, 12, 12] and file["id"].tolist() == [4, 7, 4, 7]
    assert file["person"].tolist() == [0, 1, 0, 1] and file["time_s"][2] == pytest.approx(1.2)
    assert file["keypoint_names"].tolist() == list(COCO17.keypoint_names)
    assert sorted(name for name in file.files if name[-1].isdigit()) == [
        "areas_000003", "areas_000012", "attention_000003", "attention_000012"
    ]  # fmt: skip
    for row in range(4):
        stored = file[f"attention_{file['frame'][row]:06d}"][file["person"][row]]
        assert np.array_equal(stored, maps[row % 2])
        y, x = np.unravel_index(stored[9].argmax(), stored[9].shape)
        placed = file["map_to_frame"][row] @ [x, y, 1]
        found = decode_heatmaps(stored[None, 9:10], INPUT_WH)[:, :, :2]  # up to a quarter of a px from the peak
        expected = apply_affines(attention.crop_to_frame[row % 2 : row % 2 + 1], found)[0, 0]
        assert placed == pytest.approx(expected, abs=0.3 * float(file["map_to_frame"][row][0, 0]))


@pytest.mark.parametrize("now_s", [0.0, 5e9])
def test_a_clock_that_is_wrong(now_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a small computer without a battery, which begins in 1970."""
    monkeypatch.setattr("time.time", lambda: now_s)
    writer = MapsWriter(PartFile(tmp_path / "maps.npz"), COCO17)
    maps = attention_maps(empty_maps(1), BOXES[:1])
    writer.write(result_of(grey(640, 480), [grid(50, 50, 50)], boxes=BOXES[:1], ids=[1], attention=maps), 0.0)
    writer.finish()
    assert "attention_000000" in np.load(writer.commit())


def test_a_run_without_people_and_one_that_is_cut_short(tmp_path: Path) -> None:
    writer = MapsWriter(PartFile(tmp_path / "maps.npz"), COCO17)
    writer.write(result_of(grey(64, 48), [], attention=attention_maps(empty_maps(0), [])), 0.0)
    kept = writer.abort()
    assert kept is not None and kept.name == "maps.part.npz"
    assert np.load(kept)["map_to_frame"].shape == (0, 2, 3)
    empty = MapsWriter(PartFile(tmp_path / "none.npz"), COCO17)
    assert empty.abort() is None and not list(tmp_path.glob("none*"))
    with pytest.raises(OptionError, match=r"must end with it, not maps\.npy"):
        MapsWriter(PartFile(tmp_path / "maps.npy"), COCO17)
