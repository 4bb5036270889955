"""The overlay: drawings are at their positions, and nothing else changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.overlay.drawing import Background, DrawingMemory, OverlayOptions, draw
from engine.skeleton import COCO17
from engine.types import Detections, Frame, FrameResult, Poses
from tests.engine.overlay_pictures import (
    changed,
    grey,
    grid,
    result_of,
)

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
def test_a_skeleton_is_visible_on_any_background(value: int) -> None:
    """Around a point there are both dark and light px, whatever the background."""
    drawn = draw(
        result_of(grey(300, 300, value), [grid(50, 50, 50)], boxes=[(20, 20, 290, 290)]), COCO17, OverlayOptions()
    )
    around = drawn[42:59, 42:59].astype(int).sum(axis=2)
    assert around.min() < 150
    assert around.max() > 700


def test_points_below_the_threshold_and_their_lines_are_not_drawn() -> None:
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


def test_the_frame_is_unchanged_unless_it_is_out() -> None:
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


def test_empty_and_extreme_poses_are_drawn_without_errors() -> None:
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


def test_labels_are_drawn_only_with_text() -> None:
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


def test_a_label_stands_at_the_person_and_on_a_box_that_is_drawn() -> None:
    image = grey(400, 300, 0)
    points = [(200.0 + k, 100.0 + 8 * k) for k in range(17)]  # the head at (200, 100)
    result = result_of(image, [points], boxes=[(20, 40, 380, 290)], ids=[3])

    def middle(options: OverlayOptions) -> tuple[float, float, int]:
        without = draw(result, COCO17, dataclasses.replace(options, ids=False))
        rows, columns = np.nonzero(changed(without, draw(result, COCO17, options)))
        return float(columns.mean()), float(rows.max()), int(columns.min())

    x, bottom, _ = middle(OverlayOptions())
    assert abs(x - 200) < 2 and 85 <= bottom <= 100, "over the head"
    _, bottom, left = middle(OverlayOptions(boxes=True))
    assert abs(left - 20) <= 1 and abs(bottom - 40) <= 1, "on the box"


def test_the_followed_person_is_marked() -> None:
    image = grey(400, 300)
    result = result_of(image, [grid(60, 60, 5), grid(260, 60, 5)], boxes=[(40, 40, 140, 240), (240, 40, 340, 240)])
    marked = dataclasses.replace(result, poses=dataclasses.replace(result.poses, followed=np.array([False, True])))
    touched = changed(draw(result, COCO17, OverlayOptions()), draw(marked, COCO17, OverlayOptions()))
    assert touched[40, 240:250].all() and touched[230:240, 340].all()
    assert not touched[:, :230].any() and not touched[100:180, 240].any(), "the corners alone, of one person alone"


# Angles, trails, ground


def test_an_angle_is_written_beside_its_joint() -> None:
    image = grey(400, 300)
    scores = np.zeros((1, 17), np.float32)
    points = [(0.0, 0.0)] * 17
    for name, place in (("left_shoulder", (100, 200)), ("left_elbow", (200, 200)), ("left_wrist", (200, 100))):
        points[COCO17.keypoint_index(name)] = place
        scores[0, COCO17.keypoint_index(name)] = 0.9
    result = result_of(image, [points], scores=scores)
    touched = changed(image, draw(result, COCO17, OverlayOptions(skeleton=False, angles=True)))
    rows, columns = np.nonzero(touched)
    assert columns.min() > 165 and columns.max() <= 204 and rows.min() > 165 and rows.max() <= 204, "between the arms"
    scores[0, COCO17.keypoint_index("left_wrist")] = 0.1
    hidden = draw(result_of(image, [points], scores=scores), COCO17, OverlayOptions(skeleton=False, angles=True))
    assert np.array_equal(hidden, image)


def test_trails_follow_the_hands_of_people_with_ids_for_a_second() -> None:
    options, memory = OverlayOptions(skeleton=False, ids=False, trails=True), DrawingMemory()
    wrist = COCO17.keypoint_index("left_wrist")
    scores = np.zeros((1, 17), np.float32)
    scores[0, wrist] = 0.9

    def drawn(time_s: float, x: float, ids: list[int] | None) -> np.ndarray:
        points = [(-99.0, -99.0)] * 17
        points[wrist] = (x, 150.0)
        result = result_of(grey(400, 300), [points], scores=scores, boxes=[(0, 50, 100, 250)], ids=ids)
        moved = dataclasses.replace(result.frame, timestamp_s=time_s)
        picture = draw(dataclasses.replace(result, frame=moved), COCO17, options, memory=memory)
        return changed(grey(400, 300), picture)

    assert not drawn(0.0, 50, [4]).any()
    for step in range(1, 11):
        touched = drawn(step / 10, 50 + 20 * step, [4])
    assert touched[150, 55:245].all() and not touched[:, 260:].any() and not touched[:140].any()
    touched = drawn(1.55, 255, [4])
    assert not touched[:, :160].any(), "older than a second"
    assert not drawn(0.2, 90, [4]).any(), "a time before the last one begins anew"
    assert not drawn(0.3, 150, None).any()


def test_the_ground_replaces_the_video() -> None:
    image = grey(200, 120, 200)
    result = result_of(image, [grid(60, 60, 5)])
    nothing = OverlayOptions(skeleton=False, background=Background())
    assert (draw(result, COCO17, nothing) == 0).all()
    assert draw(result, COCO17, OverlayOptions(background=Background())).any(), "people are on it"
    wide = np.zeros((50, 400, 3), np.uint8)
    wide[:, 150:250] = 90
    covered = draw(result, COCO17, dataclasses.replace(nothing, background=Background(wide)))
    assert covered.shape == image.shape and (covered[:, 100] == 90).all(), "the middle of a picture that is too wide"
