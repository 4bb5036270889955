"""The overlay: what is drawn lies where it belongs, and nothing else is touched."""

from __future__ import annotations

import itertools
from typing import Literal

import cv2
import numpy as np
import pytest

from engine.attention_overlay import heatmap_to_frame, legend_lines, scaled_maps, tint, values_on_frame
from engine.errors import OptionError
from engine.geometry import apply_affines, boxes_to_affines, invert_affines
from engine.heatmap import decode_heatmaps
from engine.overlay import AttentionView, OverlayOptions, draw, parse_view
from engine.skeleton import COCO17
from engine.types import AttentionMaps, Detections, Float32Array, Frame, FrameResult, Poses, UInt8Array

INPUT_WH = (192, 256)
MAP_WH = (48, 64)
S9 = AttentionView(kind="attention", keypoint=9)


def result_of(
    image: UInt8Array,
    points: list[list[tuple[float, float]]],
    *,
    scores: Float32Array | None = None,
    boxes: list[tuple[float, float, float, float]] | None = None,
    ids: list[int] | None = None,
    attention: AttentionMaps | None = None,
) -> FrameResult:
    people = len(points)
    places = np.array(points, np.float32).reshape(people, 17, 2)
    poses = Poses(
        keypoints_xy=places,
        scores=np.full((people, 17), 0.9, np.float32) if scores is None else scores,
        boxes_xyxy=np.array(boxes or [(10, 10, 90, 90)] * people, np.float32).reshape(people, 4),
        person_scores=np.linspace(0.9, 0.5, people, dtype=np.float32),
        track_ids=None if ids is None else np.array(ids, np.int64),
    )
    frame = Frame(image_bgr=image, index=0, timestamp_s=0.0)
    return FrameResult(frame=frame, detections=Detections.empty(), poses=poses, attention=attention)


def grid(left: float, top: float, step: float) -> list[tuple[float, float]]:
    """17 places apart from each other."""
    return [(left + step * (k % 5), top + step * (k // 5)) for k in range(17)]


def grey(width: int, height: int, value: int = 128) -> UInt8Array:
    return np.full((height, width, 3), value, np.uint8)


def changed(before: UInt8Array, after: UInt8Array) -> np.ndarray:
    return np.asarray((before.astype(int) - after).any(axis=2))


def attention_maps(maps: Float32Array, boxes: list[tuple[float, float, float, float]]) -> AttentionMaps:
    """The same maps (N, 17, h, w) as areas and attention, over crops of boxes."""
    to_frame = invert_affines(boxes_to_affines(np.array(boxes, np.float32), INPUT_WH))
    return AttentionMaps(areas=maps, attention=maps, crop_to_frame=to_frame, input_size_wh=INPUT_WH)


def empty_maps(people: int = 1) -> Float32Array:
    return np.zeros((people, 17, MAP_WH[1], MAP_WH[0]), np.float32)


# Skeletons


def test_keypoints_are_drawn_where_they_lie_in_the_colours_of_their_side() -> None:
    image = grey(400, 400)
    points = grid(40, 40, 80)
    drawn = draw(result_of(image, [points], boxes=[(20, 20, 390, 390)]), COCO17, OverlayOptions(line_width=6))
    for keypoint, (x, y) in enumerate(points):
        assert tuple(drawn[round(y), round(x)]) == COCO17.color_bgr(keypoint)
    only_arm = np.zeros((1, 17), np.float32)
    only_arm[0, [5, 7]] = 0.9
    drawn = draw(result_of(image, [points], scores=only_arm), COCO17, OverlayOptions(line_width=6))
    middle = (np.array(points[5]) + points[7]) / 2
    assert tuple(drawn[round(middle[1]), round(middle[0])]) == COCO17.edge_color_bgr((5, 7))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_skeleton_shows_on_any_ground(value: int) -> None:
    """Around a point there are both dark and light px, whatever lies under it."""
    drawn = draw(
        result_of(grey(300, 300, value), [grid(50, 50, 50)], boxes=[(20, 20, 290, 290)]), COCO17, OverlayOptions()
    )
    around = drawn[42:59, 42:59].astype(int).sum(axis=2)
    assert around.min() < 150
    assert around.max() > 700


def test_points_below_the_threshold_and_their_lines_are_left_out() -> None:
    image = grey(400, 400)
    points = grid(40, 40, 80)
    scores = np.zeros((1, 17), np.float32)
    scores[0, [5, 9]], scores[0, 7] = 0.9, 0.15  # left shoulder and wrist, and the elbow between them
    with_elbow = draw(result_of(image, [points], scores=scores), COCO17, OverlayOptions(score_threshold=0.1))
    without = draw(result_of(image, [points], scores=scores), COCO17, OverlayOptions(score_threshold=0.2))
    x, y = (round(v) for v in points[7])
    assert changed(image, with_elbow)[y, x]
    assert changed(image, with_elbow)[y, x - 40], "half way from shoulder to elbow"
    assert not changed(image, without)[y - 9 : y + 10, x - 60 : x + 10].any()
    shoulder = tuple(round(v) for v in points[5])
    assert changed(image, without)[shoulder[1], shoulder[0]]
    nobody = draw(result_of(image, [points], scores=scores), COCO17, OverlayOptions(score_threshold=0.95))
    assert np.array_equal(nobody, image)


def test_lines_grow_with_the_person() -> None:
    image = grey(1280, 720)
    sizes = []
    for step in (8, 25, 100):
        points = grid(100, 100, step)
        box = (100.0, 100.0, 100.0 + 5 * step, 100.0 + 5 * step)
        bare = OverlayOptions()
        drawn = draw(result_of(image, [points], boxes=[box]), COCO17, bare)
        column = changed(image, drawn)[:, round(100 + 0.5 * step)]  # across the line from eye to nose, at the top
        sizes.append(int(column[80 : round(100 + step * 0.5)].sum()))
    assert sizes[0] <= sizes[1] < sizes[2]
    assert sizes[2] <= 14, "never a broad band"


def test_the_frame_is_left_alone_unless_it_is_named_as_out() -> None:
    image = grey(200, 200)
    result = result_of(image, [grid(20, 20, 30)])
    fresh = draw(result, COCO17, OverlayOptions())
    assert (image == 128).all()
    buffer = np.zeros_like(image)
    assert draw(result, COCO17, OverlayOptions(), out=buffer) is buffer
    assert np.array_equal(buffer, fresh)
    assert draw(result, COCO17, OverlayOptions(), out=image) is image
    assert np.array_equal(image, fresh)
    with pytest.raises(ValueError, match="out has shape"):
        draw(result, COCO17, OverlayOptions(), out=np.zeros((3, 3, 3), np.uint8))


def test_out_may_be_part_of_a_larger_picture() -> None:
    stage = grey(420, 200)
    image = grey(200, 200)
    result = result_of(image, [grid(20, 20, 30)], boxes=[(5, 5, 190, 190)])
    draw(result, COCO17, OverlayOptions(), out=stage[:, 200:400])
    assert np.array_equal(stage[:, 200:400], draw(result, COCO17, OverlayOptions()))
    assert (stage[:, :200] == 128).all()
    assert (stage[:, 400:] == 128).all()


def test_nobody_and_wild_values_are_drawn_without_harm() -> None:
    image = grey(100, 80)
    empty = FrameResult(
        frame=Frame(image_bgr=image, index=0, timestamp_s=0.0), detections=Detections.empty(), poses=Poses.empty(17)
    )
    everything = OverlayOptions(boxes=True, scores=True)
    assert np.array_equal(draw(empty, COCO17, everything), image)
    points = grid(20, 20, 10)
    points[0] = (float("nan"), 5.0)
    points[1] = (1e9, -1e9)
    points[2] = (-500.0, 40.0)
    wild = result_of(image, [points, points], boxes=[(float("nan"),) * 4, (-1e6, -1e6, 1e6, 1e6)], ids=[1, 2])
    assert draw(wild, COCO17, everything).shape == (80, 100, 3)


# Boxes and labels


@pytest.mark.parametrize(
    "box", [(-30, -30, 40, 40), (150, -5, 400, 90), (-10, 100, 30, 400), (180, 90, 250, 130), (60, 50, 120, 100)]
)
def test_labels_stay_inside_the_frame(box: tuple[float, float, float, float]) -> None:
    """A label at an edge holds as many px of its colour as one in the middle of the frame."""
    image = grey(200, 120, 0)
    options = OverlayOptions(skeleton=False, scores=True)

    def label_size(where: tuple[float, float, float, float]) -> tuple[int, int]:
        drawn = draw(result_of(image, [grid(0, 0, 1)], boxes=[where], ids=[12]), COCO17, options)
        rows, columns = np.nonzero(changed(image, drawn))
        return int(np.ptp(rows)), int(np.ptp(columns))

    assert label_size(box) == label_size((60, 50, 120, 100))


def test_labels_are_drawn_only_where_there_is_something_to_say() -> None:
    image = grey(200, 120)
    result = result_of(image, [grid(60, 60, 5)])
    assert np.array_equal(draw(result, COCO17, OverlayOptions(skeleton=False, ids=True)), image)
    with_id = result_of(image, [grid(60, 60, 5)], ids=[3])
    assert not np.array_equal(draw(with_id, COCO17, OverlayOptions(skeleton=False)), image)
    assert np.array_equal(draw(with_id, COCO17, OverlayOptions(skeleton=False, ids=False)), image)


def test_boxes_are_drawn_on_their_edges() -> None:
    image = grey(200, 120)
    options = OverlayOptions(skeleton=False, boxes=True)
    drawn = changed(image, draw(result_of(image, [grid(0, 0, 1)], boxes=[(50, 30, 150, 90)]), COCO17, options))
    assert drawn[30, 50:151].all()
    assert drawn[90, 50:151].all()
    assert drawn[30:91, 50].all()
    assert drawn[30:91, 150].all()
    assert not drawn[36:84, 56:144].any()


# Attention


@pytest.mark.parametrize("peak", [(24, 32), (3, 60), (44, 5)])
@pytest.mark.parametrize("box", [(100.0, 50.0, 220.0, 330.0), (300.0, 200.0, 420.0, 260.0)])
def test_a_peak_lands_where_its_keypoint_lands(peak: tuple[int, int], box: tuple[float, float, float, float]) -> None:
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
    tint(image, attention, S9, "unit")
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
            tint(image, attention_maps(maps, [(50.0, 50.0, 150.0, 210.0)]), S9, "unit")
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


@pytest.mark.parametrize("scale", ["unit", "auto"])
@pytest.mark.parametrize("kind", ["attention", "areas"])
def test_scales(kind: Literal["attention", "areas"], scale: Literal["unit", "auto"]) -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 1, 1], maps[1, 2, 2] = 0.4, 0.1
    scaled, top = scaled_maps(maps, AttentionView(kind=kind, keypoint=0), scale)
    peaks = scaled.max(axis=(1, 2))
    if scale == "auto":
        assert top == pytest.approx(0.4)
        assert peaks == pytest.approx([1, 0.25])
    elif kind == "attention":
        assert (top, *peaks) == pytest.approx((1, 0.4, 0.1))
    else:
        assert (top, *peaks) == pytest.approx((1, 1, 1)), "areas sum to 1: each person's own peak counts"
    nothing, _ = scaled_maps(np.zeros((1, 4, 4), np.float32), AttentionView(kind=kind, keypoint=0), scale)
    assert (nothing == 0).all()


def test_the_legend_says_what_is_seen() -> None:
    title, shows, scale = legend_lines(S9, "unit", COCO17)
    assert title == "Attention S: left wrist"
    assert "0 to 1" in scale
    assert shows
    assert "auto" in legend_lines(S9, "auto", COCO17)[2]
    assert legend_lines(AttentionView(kind="areas", keypoint=0), "unit", COCO17)[0] == "Area G: nose"


@pytest.mark.parametrize("size_wh", [(1920, 1080), (640, 480), (384, 288), (176, 144), (96, 160), (64, 48), (8, 8)])
def test_the_legend_fits_every_frame(size_wh: tuple[int, int]) -> None:
    """It lies in the lower left, whole, and takes no more than its share."""
    image = grey(*size_wh, 200)
    result = FrameResult(
        frame=Frame(image_bgr=image, index=0, timestamp_s=0.0), detections=Detections.empty(), poses=Poses.empty(17)
    )
    for view, scale in itertools.product((S9, AttentionView(kind="areas", keypoint=16)), ("unit", "auto")):
        options = OverlayOptions(attention=view, scale="auto" if scale == "auto" else "unit")
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
    assert parse_view("left_wrist", COCO17) == S9
    assert parse_view("areas:left wrist", COCO17) == AttentionView(kind="areas", keypoint=9)
    with pytest.raises(OptionError, match="Did you mean 'left_wrist'"):
        parse_view("left_wrst", COCO17)
    with pytest.raises(OptionError, match="Known: areas, attention"):
        parse_view("map:nose", COCO17)
    with pytest.raises(OptionError):
        OverlayOptions(scale="log")  # type: ignore[arg-type]


def test_a_keypoint_the_network_lacks_is_an_error() -> None:
    attention = attention_maps(empty_maps(), [(10.0, 10.0, 60.0, 60.0)])
    view = AttentionView(kind="attention", keypoint=40)
    with pytest.raises(OptionError, match="no keypoint 40"):
        tint(grey(100, 100), attention, view, "unit")
