"""AP, rescoring, OKS-NMS and the flip test against results worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.skeleton import COCO17
from engine.types import Float32Array, UInt8Array
from models.pose_model import PoseOutput
from tests.train.people_folder import write_people
from train.data.boxes import crop_areas
from train.data.reading import read_people
from train.evaluation.breakdown import breakdown, halves
from train.evaluation.coco_eval import coco_result, coco_results, kept_people, keypoint_ap, oks_nms, rescore
from train.evaluation.prediction import flip_averaged
from train.loss import context_statistics, heatmap_loss, total_loss


def test_rescoring_is_box_score_times_the_mean_above_a_fifth() -> None:
    scores = rescore(np.array([0.5, 1.0], np.float32), np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.0]], np.float32))
    np.testing.assert_allclose(scores, [0.5 * 0.7, 0.0])


def test_doubles_are_dropped_and_neighbours_kept() -> None:
    one = np.array([[10, 10], [30, 40], [50, 10]], np.float32)
    people = np.stack([one, one + 0.5, one + 30])
    kept = oks_nms(people, np.array([0.5, 0.9, 0.1], np.float32), np.full(3, 2500, np.float32), [0.05] * 3, 0.9)
    assert kept == [1, 2]


def similarity_by_definition(one: Float32Array, other: Float32Array, areas: list[float], sigmas: list[float]) -> float:
    """COCO's OKS, keypoint by keypoint in float64: exp(-d^2 / (2 s^2 k^2)), k = 2 sigma, s^2 the mean area."""
    total = 0.0
    for (x, y), (u, v), sigma in zip(one.tolist(), other.tolist(), sigmas, strict=True):
        total += math.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * (sum(areas) / 2) * (2 * sigma) ** 2))
    return total / len(sigmas)


def test_rescoring_and_suppression_equal_plain_loops() -> None:
    """As the papers of SimpleBaseline and HRNet define them, on 300 made-up pictures of up to nine people."""
    rng = np.random.default_rng(0)
    sigmas = list(COCO17.oks_sigmas)
    dropped = 0
    for threshold in (0.5, 0.7, 0.9):
        for _ in range(100):
            count = int(rng.integers(1, 10))
            places = rng.uniform(0, 200, (3, 17, 2))[rng.integers(0, 3, count)]  # doubles of three people
            people = (places + rng.normal(0, 8, places.shape)).astype(np.float32)
            areas = rng.uniform(2e3, 6e4, count).astype(np.float32)
            boxes, peaks = rng.random(count, np.float32), rng.random((count, 17), np.float32)
            expected_scores = []
            for box, row in zip(boxes.tolist(), peaks.tolist(), strict=True):
                counted = [peak for peak in row if peak > 0.2]
                expected_scores.append(box * sum(counted) / len(counted) if counted else 0.0)
            scores = rescore(boxes, peaks)
            np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)
            expected: list[int] = []
            for index in sorted(range(count), key=lambda i, s=scores: -s[i]):  # type: ignore[misc]
                doubles = [
                    similarity_by_definition(people[index], people[k], [areas[index], areas[k]], sigmas) > threshold
                    for k in expected
                ]
                if not any(doubles):
                    expected.append(index)
            assert oks_nms(people, scores, areas, sigmas, threshold) == expected
            dropped += count - len(expected)
    assert dropped > 100


@pytest.mark.parametrize(("similarity", "kept"), [(0.89, [0, 1]), (0.91, [0])])
def test_who_is_a_double_is_said_by_cocos_similarity(similarity: float, kept: list[int]) -> None:
    """exp(-d^2 / (2 s^2 (2 sigma)^2)) with s^2 the mean of the two areas, turned round for the distance d."""
    sigma, areas = 0.05, np.array([2000, 3000], np.float32)
    distance = np.sqrt(-2 * np.log(similarity) * 2500 * (2 * sigma) ** 2)
    people = np.array([[[10, 10]], [[10 + distance, 10]]], np.float32)
    assert oks_nms(people, np.array([0.9, 0.5], np.float32), areas, [sigma], 0.9) == kept


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 99.9, 100.1), (200.0, -0.1, 0.1)])
def test_perfect_keypoints_give_100_and_far_ones_nothing(tmp_path: Path, shift: float, low: float, high: float) -> None:
    people = read_people(write_people(tmp_path / "p"), "val")
    keypoints = np.stack([person.keypoints for person in people.people])
    keypoints[..., 2] = 0.9
    keypoints[..., 0] += shift
    count = len(keypoints)
    results = coco_results(
        [person.image_id for person in people.people],
        keypoints,
        np.ones(count, np.float32),
        np.full(count, 2000, np.float32),
        people.skeleton.oks_sigmas,
    )
    metrics = keypoint_ap(people.ground_truth, results, people.skeleton.oks_sigmas)
    assert low <= metrics["AP"] <= high


def test_sizes_that_nobody_has_are_minus_one(tmp_path: Path) -> None:
    people = read_people(write_people(tmp_path / "p"), "val")
    keypoints = np.stack([person.keypoints for person in people.people])
    results = [coco_result(person.image_id, keypoints[i], 0.5) for i, person in enumerate(people.people)]
    metrics = keypoint_ap(people.ground_truth, results, people.skeleton.oks_sigmas)
    assert metrics["APM"] == pytest.approx(100) and metrics["APL"] == -1
    assert keypoint_ap(people.ground_truth, [], people.skeleton.oks_sigmas)["AP"] == 0


def test_doubles_are_looked_for_within_a_picture_only() -> None:
    person = np.array([[10, 10], [30, 40], [50, 10]], np.float32)
    keypoints = np.concatenate([np.stack([person] * 4), np.full((4, 3, 1), 0.5, np.float32)], axis=2)
    scores = np.array([0.3, 0.9, 0.8, 0.1], np.float32)
    kept = kept_people([7, 3, 7, 7], keypoints[..., :2], scores, np.full(4, 2500, np.float32), [0.05] * 3)
    assert sorted(kept) == [1, 2]
    results = coco_results([7, 3, 7, 7], keypoints, scores, np.full(4, 2500, np.float32), [0.05] * 3)
    assert {(result["image_id"], round(result["score"], 3)) for result in results} == {(3, 0.45), (7, 0.4)}


def test_crops_cover_the_box_at_the_shape_of_the_input_and_a_quarter_more() -> None:
    boxes = np.array([[0, 0, 30, 80], [10, 10, 110, 60]], np.float32)
    np.testing.assert_allclose(crop_areas(boxes), [60 * 80 * 1.25**2, 100 * (100 / 0.75) * 1.25**2], rtol=1e-5)


def two_people(**second: object) -> dict[str, object]:
    """A picture of 400x300 with a person of 100x200 at the left and one of 40x100 at the right border."""
    keypoints = {"keypoints": [50, 60, 2, 70, 120, 2], "num_keypoints": 2}
    first = {"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "bbox": [20, 20, 100, 200], "area": 10600}
    other = {"id": 2, "image_id": 5, "category_id": 1, "iscrowd": 0, "bbox": [360, 20, 40, 100], "area": 2120,
             "keypoints": [370, 40, 2, 380, 100, 2], "num_keypoints": 2, **second}  # fmt: skip
    return {
        "images": [{"id": 5, "width": 400, "height": 300}],
        "annotations": [{**first, **keypoints}, other],
        "categories": [{"id": 1, "name": "person", "keypoints": ["a", "b"]}],
    }


def found(*x_offsets: float) -> list[dict[str, object]]:
    """Results on the two people, the first and second moved aside by so many px."""
    exact = ([50, 60, 1, 70, 120, 1], [370, 40, 1, 380, 100, 1])
    return [
        {
            "image_id": 5,
            "category_id": 1,
            "score": 0.9 - i / 10,
            "keypoints": [p + dx * (j % 3 == 0) for j, p in enumerate(k)],
        }
        for i, (k, dx) in enumerate(zip(exact, x_offsets, strict=True))
    ]


BOXES = np.array([[20, 20, 120, 220], [360, 20, 400, 120]], np.float32)


def test_the_breakdown_counts_each_person_under_its_kinds() -> None:
    report = breakdown(two_people(), found(0, 0), BOXES, [0.05, 0.05])
    assert {kind: values["people"] for kind, values in report.items()} == {
        "taller_than_128_px": 1, "up_to_128_px": 1, "truncated": 1, "in_crowds": 0
    }  # fmt: skip
    assert report["taller_than_128_px"]["AP"] == report["truncated"]["AP"] == pytest.approx(100)
    assert report["in_crowds"]["AP"] == -1


def test_a_bad_result_hurts_the_kind_of_its_person_alone() -> None:
    report = breakdown(two_people(), found(200, 0), BOXES, [0.05, 0.05])
    assert report["taller_than_128_px"]["AP"] == pytest.approx(0)
    assert report["up_to_128_px"]["AP"] == report["truncated"]["AP"] == pytest.approx(100)


def test_a_result_on_nobody_is_a_false_alarm_for_every_kind() -> None:
    results = [{**found(200, 0)[0], "score": 0.99}, *found(0, 0)]
    boxes = np.concatenate([np.array([[200, 150, 260, 290]], np.float32), BOXES])
    report = breakdown(two_people(), results, boxes, [0.05, 0.05])
    assert report["taller_than_128_px"]["AP"] == report["truncated"]["AP"] == pytest.approx(50, abs=1)


def test_people_whose_boxes_overlap_are_in_crowds() -> None:
    near = two_people(bbox=[105, 20, 90, 200])
    assert breakdown(near, found(0, 0), BOXES, [0.05, 0.05])["in_crowds"]["people"] == 0  # 9 %
    close = two_people(bbox=[60, 20, 100, 200])
    assert breakdown(close, found(0, 0), BOXES, [0.05, 0.05])["in_crowds"]["people"] == 2
    without_keypoints = two_people(bbox=[60, 20, 100, 200], num_keypoints=0, keypoints=[0] * 6)
    assert breakdown(without_keypoints, found(0, 0), BOXES, [0.05, 0.05])["in_crowds"]["people"] == 1


def test_a_picture_counts_in_the_half_of_its_id(tmp_path: Path) -> None:
    """Six people in pictures 0 to 5; all are found but that in picture 3, and picture 5 holds a false alarm, too."""
    people = read_people(write_people(tmp_path / "p"), "val")
    results = [coco_result(person.image_id, person.keypoints, 0.5) for person in people.people]
    results[3]["keypoints"] = [value + 200 for value in results[3]["keypoints"]]
    false_alarm = {**results[3], "image_id": 5, "score": 0.9}
    report = halves(people.ground_truth, [*results, false_alarm], people.skeleton.oks_sigmas)
    assert [report[half]["people"] for half in ("even", "odd")] == [3, 3]
    assert report["even"]["AP"] == report["even"]["AR"] == pytest.approx(100)
    assert report["odd"]["AR"] == pytest.approx(200 / 3)
    # 2 of 4 results are right up to the recall of 2/3 (67 of pycocotools' 101 points), and nothing is beyond it.
    assert report["odd"]["AP"] == pytest.approx(50 * 67 / 101)
    only_even = {**people.ground_truth, "annotations": people.ground_truth["annotations"][::2]}
    assert halves(only_even, results[::2], people.skeleton.oks_sigmas)["odd"]["AP"] == -1


def test_flip_averaging_of_a_symmetric_network_changes_nothing_but_the_known_shift() -> None:
    """A network that answers the mirrored crop with mirrored, swapped maps agrees with itself up to one px."""

    def predict(crops: UInt8Array) -> Float32Array:
        small = crops[:, ::4, ::4].astype(np.float32)  # (N, h, w, 3)
        left, right = small[..., 0], small[..., 2]
        return np.stack([left, right], axis=1)

    crops = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    averaged = flip_averaged(predict, (1, 0))(crops)
    mirrored = predict(np.ascontiguousarray(crops[:, :, ::-1]))[:, [1, 0]]
    by_hand = predict(crops)
    expected = by_hand.copy()
    for x in range(8):
        expected[..., x] = (by_hand[..., x] + mirrored[..., 7 - max(x - 1, 0)]) / 2
    np.testing.assert_allclose(averaged, expected)


def test_losses_by_hand() -> None:
    targets = torch.zeros(1, 2, 2, 2)
    heatmaps = torch.tensor([[[[1.0, 0], [0, 0]], [[3.0, 3], [3, 3]]]])
    weights = torch.tensor([[1.0, 0.0]])
    assert heatmap_loss(heatmaps, targets, weights).item() == pytest.approx(0.5 * 1 / 8)
    output = PoseOutput(heatmaps, coarse_heatmaps=heatmaps * 2)
    total = total_loss(output, targets, weights, alpha=0.2)
    assert total["loss"].item() == pytest.approx(0.5 * 1 / 8 + 0.2 * 0.5 * 4 / 8)
    assert "loss_inter" not in total_loss(output, targets, weights, alpha=0.0)


def test_statistics_tell_a_flat_head_from_a_sharp_one() -> None:
    flat = PoseOutput(
        torch.zeros(1, 3, 4, 4),
        areas=torch.full((1, 3, 4, 4), 1 / 16),
        attention=torch.full((1, 3, 4, 4), 1 / 3),
        representations=torch.ones(1, 3, 5),
    )
    values = context_statistics(flat)
    assert values["peak_times_pixels"].tolist() == [[1.0] * 3]
    assert values["representation_cosine"].item() == pytest.approx(1)
    assert values["attention_entropy"].item() == pytest.approx(1)
    sharp_areas = torch.zeros(1, 3, 4, 4)
    sharp_areas[:, :, 1, 1] = 1
    attention = torch.zeros(1, 3, 4, 4)
    attention[:, 0] = 1
    sharp = flat._replace(areas=sharp_areas, attention=attention, representations=torch.eye(3, 5)[None])
    values = context_statistics(sharp)
    assert values["peak_times_pixels"].tolist() == [[16.0] * 3]
    assert values["representation_cosine"].item() == pytest.approx(0)
    assert values["attention_entropy"].item() == pytest.approx(0, abs=1e-6)
