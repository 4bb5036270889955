"""`python -m train.figures`: the right pixel, the right colours, and pictures that can be opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from app.live.probe import Probe
from app.live.shots import Shot, Shown
from engine.backends import open_pose_backend
from engine.errors import OptionError
from engine.geometry import invert_affines
from engine.pipeline.pose_stage import PendingFrame, PoseStage
from engine.skeleton import Skeleton
from engine.types import AttentionMaps, Detections, Frame, FrameResult
from models.build import build_model
from models.checkpoints import load_pose_model, save_pose_model
from train.figures import choose_box, choose_pixel, main
from train.paper.attention_of import PersonAttention, attention_of_box
from train.paper.drawing import BLUE_TO_RED, draw_figure_2, draw_sheet

SKELETON = Skeleton(
    keypoint_names=("head", "left_hand", "right_hand"),
    edges=((0, 1),),
    flip_pairs=((1, 2),),
    oks_sigmas=(0.05, 0.05, 0.05),
)


@pytest.fixture
def person() -> PersonAttention:
    """A crop of 64x96 px that is half as large as the photo; heatmap px (3, 5) attends to the head alone."""
    attention = np.full((1, 3, 24, 16), 1 / 3, np.float32)
    attention[0, :, 5, 3] = [0.9, 0.1, 0.0]
    photo_to_crop = np.array([[0.5, 0, -10], [0, 0.5, 0]], np.float32)
    return PersonAttention(
        picture_bgr=np.full((192, 128, 3), 120, np.uint8),
        input_size_wh=(64, 96),
        photo_to_crop=photo_to_crop,
        keypoints=np.array([[30, 20, 0.8], [10, 60, 0.9], [50, 60, 0.1]], np.float32),
        maps=AttentionMaps(
            areas=np.full((1, 3, 24, 16), 1 / 384, np.float32),
            attention=attention,
            crop_to_frame=invert_affines(photo_to_crop[None]),
            input_size_wh=(64, 96),
        ),
        skeleton=SKELETON,
        model="kcam_resnet18",
    )


def test_a_pixel_of_the_photo_is_found_in_the_heatmap(person: PersonAttention) -> None:
    """Heatmap px (3, 5) is crop px (12, 20), photo px (44, 40)."""
    photo_xy, place = choose_pixel(person, "44,40", None)
    assert place == "(44, 40)"
    np.testing.assert_allclose(person.attention_at(photo_xy), [0.9, 0.1, 0.0], atol=1e-6)
    between = person.attention_at(photo_xy + np.array([4, 0], np.float32))  # half way to the next heatmap px
    np.testing.assert_allclose(between, (np.array([0.9, 0.1, 0.0]) + 1 / 3) / 2, atol=1e-6)
    with pytest.raises(OptionError, match="outside the crop"):
        person.to_crop(choose_pixel(person, "0,0", None)[0])


def test_a_keypoint_stands_for_its_place_and_without_one_the_surest_is_taken(person: PersonAttention) -> None:
    assert choose_pixel(person, None, "Right Hand")[0].tolist() == [120, 120]
    assert choose_pixel(person, None, None)[1] == "the left hand"
    with pytest.raises(OptionError, match="Did you mean 'left_hand'"):
        choose_pixel(person, None, "left_band")


def test_figure_2_colours_each_keypoint_by_the_attention_of_the_starred_pixel(person: PersonAttention) -> None:
    figure = draw_figure_2(person, np.array([44, 40], np.float32), "here", unit_scale=True)
    picture = figure.axes[0]
    circles: dict[Any, Any] = {tuple(np.round(np.asarray(c.get_offsets())[0])): c for c in picture.collections}
    head, left, right = (circles[point] for point in ((60, 40), (20, 120), (100, 120)))
    np.testing.assert_allclose(head.get_facecolor()[0], BLUE_TO_RED(0.9), atol=0.01)
    np.testing.assert_allclose(left.get_facecolor()[0], BLUE_TO_RED(0.1), atol=0.01)
    assert len(right.get_facecolor()) == 0  # a low score: a ring in its colour
    np.testing.assert_allclose(right.get_edgecolor()[0], BLUE_TO_RED(0.0), atol=0.01)
    star = circles[(24, 40)]
    np.testing.assert_allclose(star.get_facecolor()[0], to_rgba("#ffe94d"))
    assert star.get_zorder() < head.get_zorder()  # a circle on the same pixel is not covered


def test_maps_lie_on_the_pixels_that_they_belong_to(person: PersonAttention) -> None:
    """Heatmap px i is crop px 4 i, here picture px 8 i: the first of them begins four px to the left of 0."""
    assert person.map_extent() == (-4, 124, 188, -4)
    aligned = dataclasses.replace(person, udp=True)  # outer px on outer px
    left, right, bottom, top = aligned.map_extent()
    width = (right - left) / 16
    assert left + width / 2 == pytest.approx(0) and right - width / 2 == pytest.approx(63 * 2)
    assert bottom + top == pytest.approx(95 * 2)


def test_the_ends_of_the_colours_are_blue_and_red() -> None:
    blue, red = np.asarray(BLUE_TO_RED(0.0)), np.asarray(BLUE_TO_RED(1.0))
    assert blue[2] > 0.9 and blue[0] < 0.2 and red[0] > 0.8 and red[2] < 0.1


def test_the_sheet_shows_area_and_attention_of_every_keypoint(person: PersonAttention) -> None:
    figure = draw_sheet(person, unit_scale=False)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 6
    assert titles[0] == "head\narea, peak 1x" and titles[1].strip() == "attention, up to 0.90"


@pytest.mark.parametrize(
    ("box", "message"),
    [("1,2,3", "expected X1,Y1"), ("a,b,c,d", "expected X1,Y1"), ("50,0,10,20", "X1 < X2"), ("90,0,99,9", "80x60")],
)
def test_a_box_that_does_not_fit_is_named(box: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        choose_box(np.zeros((60, 80, 3), np.uint8), box, None)


@pytest.mark.parametrize("udp", [False, True])
def test_figures_and_the_windows_probe_read_the_same(tmp_path: Path, udp: bool) -> None:
    torch.manual_seed(0)
    model = build_model("kcam_resnet18", num_keypoints=3, input_size_wh=(64, 96), deconv_channels=16, udp=udp)
    torch.nn.init.normal_(model.final_layer.weight)  # areas that differ, so that attention does
    weights = tmp_path / "w.safetensors"
    save_pose_model(weights, model.eval(), skeleton=SKELETON.to_dict(), half=False)
    photo = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    box = np.array([40, 10, 100, 110], np.float32)
    person = attention_of_box(load_pose_model(weights), photo, box)
    found = Detections(boxes_xyxy=box[None], scores=np.ones(1, np.float32), class_ids=np.zeros(1, np.int64))
    frame = Frame(image_bgr=photo, index=0, timestamp_s=0.0)
    with open_pose_backend(weights, backend="torch", precision="fp32", device="cpu").backend as backend:
        stage = PoseStage(backend, want_areas=False, want_attention=True, max_people=1)
        (posed,) = stage.run([PendingFrame(frame=frame, detections=found, detected=True)])
    result = FrameResult(frame=frame, detections=found, poses=posed.poses, attention=posed.attention)
    shown = Shown(shot=Shot(frame=frame, captured_s=0, position_s=0, serial=1), result=result, skeleton=SKELETON)
    for pixel in ("41.0,11.0", "70.5,50.0", "99.0,100.25"):
        photo_xy, _ = choose_pixel(person, pixel, None)
        probe = Probe()
        assert probe.place(shown, (float(photo_xy[0]), float(photo_xy[1])))
        reading = probe.read(shown)
        assert reading is not None
        np.testing.assert_allclose(person.attention_at(photo_xy), reading.values, atol=1e-4)
        assert np.ptp(reading.values) > 0.01


def test_keypoints_are_decoded_as_the_weights_say(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    box = np.array([40, 10, 100, 110], np.float32)
    found = {}
    for decode in ("quarter", "dark"):
        torch.manual_seed(0)
        fields: dict[str, Any] = {"num_keypoints": 3, "input_size_wh": (64, 96), "deconv_channels": 16}
        model = build_model("kcam_resnet18", decode=decode, **fields)
        torch.nn.init.normal_(model.kcam_final_layer.weight)
        save_pose_model(tmp_path / "w.safetensors", model.eval(), skeleton=SKELETON.to_dict())
        found[decode] = attention_of_box(load_pose_model(tmp_path / "w.safetensors"), photo, box).keypoints
    np.testing.assert_array_equal(found["quarter"][:, 2], found["dark"][:, 2])
    assert (found["quarter"][:, :2] != found["dark"][:, :2]).any()


def test_from_photo_to_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    fields = {"num_keypoints": 3, "input_size_wh": (64, 96), "deconv_channels": 16}
    for name in ("kcam_resnet18", "resnet18"):
        model = build_model(name, **fields)  # type: ignore[arg-type]
        save_pose_model(tmp_path / f"{name}.safetensors", model, skeleton=SKELETON.to_dict())
    photo = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    common = ["--image", str(tmp_path / "photo.png"), "--box", "40,10,100,110"]
    kcam, out = str(tmp_path / "kcam_resnet18.safetensors"), tmp_path / "new" / "figure.png"
    assert main(["--weights", kcam, *common, "--pixel", "70,50", "--output", str(out)]) == 0
    assert [line for line in capsys.readouterr().out.split() if line] == [
        str(out),
        str(out.with_name("figure_sheet.png")),
    ]
    for path in out.parent.iterdir():
        drawn = cv2.imread(str(path))
        assert drawn is not None and min(drawn.shape[:2]) > 200
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 500
    assert len(list(out.parent.iterdir())) == 2
    for options, message in (
        (["--weights", str(tmp_path / "resnet18.safetensors"), *common], "resnet18 has no KCAM head"),
        (["--weights", kcam, "--image", str(tmp_path / "none.jpg")], f"cannot read {tmp_path / 'none.jpg'}"),
        (["--weights", kcam, *common, "--pixel", "70,50", "--keypoint", "head"], "leave one of them out"),
        (["--weights", kcam, *common, "--output", "a.jpg"], "ends in .png"),
    ):
        assert main(options) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
