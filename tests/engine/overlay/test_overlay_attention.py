"""Attention and areas over the picture: they are at their positions, and the legend names them."""

from __future__ import annotations

import itertools
from typing import Literal

import cv2
import numpy as np
import pytest

from engine.errors import OptionError
from engine.geometry import apply_affines
from engine.heatmap import decode_heatmaps
from engine.overlay.attention import (
    SCALES,
    AttentionSheet,
    AttentionView,
    Scale,
    attention_range,
    heatmap_to_frame,
    parse_attention,
    scaled_maps,
    tint,
    values_on_frame,
)
from engine.overlay.contact_sheet import contact_sheet, map_tiles, person_crop, sheet_layout
from engine.overlay.drawing import OverlayOptions, draw
from engine.overlay.legend import LegendCorner, legend_lines
from engine.skeleton import COCO17
from engine.types import Detections, Frame, FrameResult, Poses
from tests.engine.overlay_pictures import (
    INPUT_WH,
    MAP_WH,
    S9,
    attention_maps,
    changed,
    empty_maps,
    grey,
    result_of,
)

Kind = Literal["attention", "areas"]


@pytest.mark.parametrize("peak", [(24, 32), (3, 60), (44, 5)])
@pytest.mark.parametrize("box", [(100.0, 50.0, 220.0, 330.0), (300.0, 200.0, 420.0, 260.0)])
def test_a_peak_is_drawn_at_its_keypoint(peak: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    maps = empty_maps()
    yy, xx = np.mgrid[: MAP_WH[1], : MAP_WH[0]]
    maps[0, 9] = np.exp(-((xx - peak[0]) ** 2 + (yy - peak[1]) ** 2) / 8.0)
    attention = attention_maps(maps, [box])
    decoded = decode_heatmaps(maps[:, 9:10], INPUT_WH)[:, :, :2]
    expected = apply_affines(attention.crop_to_frame, decoded)[0, 0]
    values = values_on_frame(maps[:, 9], heatmap_to_frame(attention, MAP_WH), (640, 480))
    weight = np.where(values > 0.7, values, 0)
    rows, columns = np.mgrid[:480, :640]
    found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    assert found == pytest.approx(expected, abs=0.35)
    assert values.max() == pytest.approx(1, abs=0.02)


def test_the_tint_is_red_at_the_peak_and_absent_elsewhere() -> None:
    image = grey(640, 480)
    maps = empty_maps()
    maps[0, 9] = 1 / 17  # attends to nothing in particular
    maps[0, 9, 30:34, 22:26] = 1.0
    box = (200.0, 100.0, 350.0, 300.0)
    attention = attention_maps(maps, [box])
    before = image.copy()
    tint(image, attention, S9, "paper")
    peak = apply_affines(attention.crop_to_frame, np.array([[[23.5 * 4, 31.5 * 4]]], np.float32))[0, 0]
    blue, green, red = (int(v) for v in image[round(peak[1]), round(peak[0])])
    assert red > blue + 50
    assert red > green + 50
    far = np.abs(image.astype(int) - before).max(axis=2)
    assert far[100:140, 200:240].max() <= 8, "the even 1/K paints no box around a person"
    assert far[:, 480:].max() == 0


def test_more_attention_is_more_opaque() -> None:
    opacities = []
    for value in (0.1, 0.3, 0.5, 0.6):
        seen_through = []
        for ground in (0, 255):
            image = grey(200, 260, ground)
            maps = np.full((1, 17, *reversed(MAP_WH)), value, np.float32)
            tint(image, attention_maps(maps, [(50.0, 50.0, 150.0, 210.0)]), S9, "paper")
            seen_through.append(image[130, 100].astype(float))
        opacities.append(1 - float((seen_through[1] - seen_through[0]).mean()) / 255)
    assert opacities == sorted(opacities)
    assert opacities[0] < 0.1
    assert 0.7 < opacities[-1] < 0.9, "what lies under it can still be made out"


def test_people_who_overlap_show_the_higher_value() -> None:
    boxes = [(100.0, 100.0, 200.0, 300.0), (120.0, 100.0, 220.0, 300.0)]
    maps = empty_maps(2)
    maps[0, 9], maps[1, 9] = 0.3, 0.8
    values = [
        values_on_frame(order[:, 9], heatmap_to_frame(attention_maps(order, places), MAP_WH), (400, 400))
        for order, places in ((maps, boxes), (maps[::-1].copy(), boxes[::-1]))
    ]
    assert np.array_equal(values[0], values[1])
    assert values[0][200, 160] == pytest.approx(0.8, abs=1e-3)
    assert values[0][200, 65] == pytest.approx(0.3, abs=1e-3)


def test_crops_that_reach_out_of_the_frame_are_cut() -> None:
    maps = empty_maps()
    maps[0, 9] = 0.9
    for box in ((-100.0, -50.0, 40.0, 60.0), (150.0, 150.0, 400.0, 500.0), (900.0, 900.0, 990.0, 990.0)):
        values = values_on_frame(maps[:, 9], heatmap_to_frame(attention_maps(maps, [box]), MAP_WH), (200, 200))
        assert values.shape == (200, 200)
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("kind", "scale", "low_high", "peaks"),
    [
        ("attention", "frame", (0.05, 0.45), (1, 0.25)),
        ("attention", "paper", (0, 1), (0.45, 0.15)),
        ("areas", "frame", (0, 0.45), (1, 1 / 3)),
        ("areas", "paper", (0, 1), (1, 1)),  # areas sum to 1: each person's own peak counts
    ],
)
def test_scales(kind: Kind, scale: Scale, low_high: tuple[float, float], peaks: tuple[float, float]) -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 1, 1], maps[1, 2, 2] = 0.45, 0.15
    view = AttentionView(kind=kind, keypoint=0)
    scaled, values = scaled_maps(maps, view, scale, num_keypoints=20)
    assert (values.low, values.high) == pytest.approx(low_high)
    assert scaled.max(axis=(1, 2)) == pytest.approx(peaks)
    assert scaled.min() == 0, "less than no preference is not less than nothing"
    nothing, _ = scaled_maps(np.zeros((1, 4, 4), np.float32), view, scale, num_keypoints=20)
    assert (nothing == 0).all()


def test_even_attention_tints_nobody() -> None:
    image = grey(300, 300)
    rounded = 1 / 17 + np.random.default_rng(0).uniform(-1e-5, 1e-5, (1, 17, *reversed(MAP_WH)))
    tint(image, attention_maps(rounded.astype(np.float32), [(50.0, 50.0, 150.0, 210.0)]), S9, "frame")
    assert not changed(grey(300, 300), image).any()


def test_the_legend_names_the_map() -> None:
    title, shows, scale = legend_lines(S9, "paper", COCO17)
    assert title == "Attention S: left wrist"
    assert "0 to 1" in scale
    assert shows
    assert "1/17" in legend_lines(S9, "frame", COCO17)[2]
    assert attention_range(np.array([0.3], np.float32), 17, "frame").labels() == ("1/17", "0.18", "0.3")
    assert legend_lines(AttentionView(kind="areas", keypoint=0), "paper", COCO17)[0] == "Area G: nose"


@pytest.mark.parametrize("size_wh", [(1920, 1080), (640, 480), (384, 288), (176, 144), (96, 160), (64, 48), (8, 8)])
def test_the_legend_fits_every_frame(size_wh: tuple[int, int]) -> None:
    """It lies in the lower left, whole, and takes no more than its share."""
    image = grey(*size_wh, 200)
    result = FrameResult(
        frame=Frame(image_bgr=image, index=0, timestamp_s=0.0), detections=Detections.empty(), poses=Poses.empty(17)
    )
    for view, scale in itertools.product((S9, AttentionView(kind="areas", keypoint=16)), SCALES):
        options = OverlayOptions(attention=view, scale=scale)
        touched = changed(image, draw(result, COCO17, options))
        if size_wh[0] >= 160:
            assert touched.any()
        if touched.any():
            rows, columns = np.nonzero(touched)
            assert rows.max() < size_wh[1] - 1
            assert columns.min() > 0
            assert columns.max() < size_wh[0] - 1, "nothing is cut off at the right"
            assert rows.min() >= size_wh[1] * 0.35
    bars = draw(result, COCO17, OverlayOptions(attention=S9))
    if size_wh[0] >= 160:
        reds = cv2.inRange(bars, (0, 0, 130), (90, 90, 255))
        assert reds.any(), "the bar ends in red"


def test_views_are_named_by_keypoint() -> None:
    assert parse_attention("left_wrist", COCO17) == S9
    assert parse_attention("areas:left wrist", COCO17) == AttentionView(kind="areas", keypoint=9)
    with pytest.raises(OptionError, match="Did you mean 'left_wrist'"):
        parse_attention("left_wrst", COCO17)
    with pytest.raises(OptionError, match="Known: areas, attention"):
        parse_attention("map:nose", COCO17)
    with pytest.raises(OptionError):
        OverlayOptions(scale="log")  # type: ignore[arg-type]


def test_a_keypoint_the_network_lacks_is_an_error() -> None:
    attention = attention_maps(empty_maps(), [(10.0, 10.0, 60.0, 60.0)])
    view = AttentionView(kind="attention", keypoint=40)
    with pytest.raises(OptionError, match="no keypoint 40"):
        tint(grey(100, 100), attention, view, "paper")


def test_the_legend_stays_off_people_and_in_its_corner() -> None:
    corner, size, frame = LegendCorner(), (100, 60), (640, 480)

    def place(*boxes: tuple[float, float, float, float], time_s: float) -> tuple[int, int]:
        return corner.place(size, frame, 10, np.array(boxes, np.float32).reshape(-1, 4), time_s)

    lower_left = (0.0, 380.0, 90.0, 480.0)
    assert place(lower_left, time_s=0.0) == (530, 410), "someone stands in the lower left"
    assert place((560.0, 380.0, 640.0, 480.0), time_s=0.5) == (530, 410), "it does not jump at once"
    assert place((560.0, 380.0, 640.0, 480.0), time_s=1.5) == (10, 410)
    assert place(time_s=9.0) == (10, 410), "nobody is in its way"
    assert place(lower_left, (560.0, 380.0, 640.0, 480.0), time_s=20.0) == (10, 10)
    sides = ((0.0, 0.0, 150.0, 480.0), (500.0, 0.0, 640.0, 480.0))
    left, top = place(*sides, time_s=30.0)
    assert 150 <= left <= 400 and top == 410, "people at both sides, and room between them"
    corner.unsettle()
    assert place((500.0, 0.0, 640.0, 480.0), (150.0, 0.0, 400.0, 480.0), time_s=30.0) == (10, 410), "zoomed"
    middle = np.array([(200.0, 380.0, 440.0, 480.0)], np.float32)
    assert corner.place((120, 90), frame, 10, middle, 30.0) == (10, 380), "of a paused video, a second legend"


def test_the_sheet_has_every_keypoint_in_one_scale() -> None:
    maps = np.full((1, 17, *reversed(MAP_WH)), 1 / 17, np.float32)
    maps[0, 3, 28:36, 20:28], maps[0, 9, 28:36, 20:28] = 0.9, 0.4
    points = [[(-50.0, -50.0)] * 17]
    result = result_of(grey(384, 288), points, attention=attention_maps(maps, [(100.0, 50.0, 250.0, 250.0)]))
    columns, rows, (width, height) = sheet_layout(18, (384, 288))
    sheet = contact_sheet(result, COCO17, AttentionSheet(kind="attention"), OverlayOptions())
    assert sheet.shape == (rows * height, columns * width, 3) and rows * columns >= 18
    tiles = [sheet[k // columns * height :, k % columns * width :][:height, :width] for k in range(18)]
    spots = [tile[height * 150 // 288, width * 175 // 384].astype(int) for tile in tiles[:17]]
    tinted = [k for k, spot in enumerate(spots) if np.abs(spot - 128).max() > 10]
    assert tinted == [3, 9]
    assert spots[3][2] > spots[3][0] + 50, "the highest is red"
    assert spots[9][2] < spots[9][1], "less is not, although it is the highest of its tile"
    assert tiles[17].std() > 5, "the last tile says what the colours mean"


@pytest.mark.parametrize("frame_wh", [(1920, 1080), (384, 288), (1080, 1920), (64, 48), (4000, 300)])
@pytest.mark.parametrize("count", [1, 2, 18, 134])
def test_sheets_fit_a_screen(count: int, frame_wh: tuple[int, int]) -> None:
    columns, rows, (width, height) = sheet_layout(count, frame_wh)
    assert columns * rows >= count > columns * (rows - 1)
    assert width <= frame_wh[0] and abs(height - width * frame_wh[1] / frame_wh[0]) <= 1
    if count == 18:
        assert width * columns <= 2000 and width >= min(frame_wh[0], 200)


@pytest.mark.parametrize("size_wh", [(16, 16), (64, 4), (200, 1), (1, 1)])
def test_a_sheet_of_a_tiny_frame_has_no_key_that_could_not_be_read(size_wh: tuple[int, int]) -> None:
    maps = attention_maps(empty_maps(), [(0.0, 0.0, *size_wh)])
    result = result_of(grey(*size_wh), [[(0.0, 0.0)] * 17], attention=maps)
    columns, rows, (width, height) = sheet_layout(18, size_wh)
    for kind, scale in itertools.product(("attention", "areas"), SCALES):
        sheet = contact_sheet(result, COCO17, AttentionSheet(kind=kind), OverlayOptions(scale=scale))  # type: ignore[arg-type]
        assert sheet.shape == (rows * height, columns * width, 3)
        last = sheet[17 // columns * height :, 17 % columns * width :][:height, :width]
        assert (last == last[0, 0]).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_a_person_alone_is_their_crop_with_keypoints_and_maps_in_place(mirror: bool) -> None:
    image = grey(384, 288)
    image[100:110, 170:180], image[200:260, 300:380] = (0, 255, 0), (255, 0, 0)  # a nose, and somebody else
    maps = np.full((2, 17, *reversed(MAP_WH)), 1 / 17, np.float32)
    maps[1, 9, 40:48, 4:12] = 0.9
    people = [[(340.0, 230.0)] * 17, [(174.5, 104.5)] * 17]
    boxes = [(310.0, 200.0, 370.0, 260.0), (130.0, 60.0, 220.0, 180.0)]
    result = result_of(image, people, boxes=boxes, ids=[1, 2], attention=attention_maps(maps, boxes))
    crop = person_crop(result, 1, (96, 128), mirror=mirror)
    # The box has the aspect ratio of the input, and is padded by 1.25.
    scale = 96 / (90 * 1.25)
    x, y = 48 + (174.5 - 175) * scale, 64 + (104.5 - 120) * scale
    x = 95 - x if mirror else x
    assert crop.poses.keypoints_xy[0, 0] == pytest.approx((x, y), abs=0.6) and crop.poses.track_ids == [2]
    seen = crop.frame.image_bgr[round(y), round(x)].astype(int)
    assert seen[1] > seen[0] + 100 and not (crop.frame.image_bgr[..., 0] > crop.frame.image_bgr[..., 1]).any()
    tiles, values = map_tiles(crop, AttentionSheet(kind="attention"), OverlayOptions())
    assert len(tiles) == 17 and values is not None and values.high == pytest.approx(0.9)
    tinted = np.abs(tiles[9].astype(int) - tiles[0]).max(axis=2) > 60
    rows, columns = np.nonzero(tinted)
    middle = 7.5 * 2 + 0.5  # of the map's px 4 to 11, each 2 px of the crop
    assert columns.mean() == pytest.approx(95 - middle if mirror else middle, abs=1.5)
    assert rows.mean() == pytest.approx(43.5 * 2 + 0.5, abs=1.5)


def test_a_sheet_is_named_all() -> None:
    assert parse_attention("all", COCO17) == AttentionSheet(kind="attention")
    assert parse_attention("areas: ALL", COCO17) == AttentionSheet(kind="areas")
    assert parse_attention("areas:nose", COCO17) == AttentionView(kind="areas", keypoint=0)
