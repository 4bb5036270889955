"""COCO keypoint AP by pycocotools, with the official rescoring and OKS-NMS in front of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.types import Float32Array, require_finite

METRIC_NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""The numbers that pycocotools gives for keypoints, in its order."""
MAIN_METRICS = METRIC_NAMES[:6]
"""Those that tables show."""
PAPER_METRICS = METRIC_NAMES[:5]
"""Those that the paper's tables have."""
KEYPOINT_SCORE_FLOOR = 0.2
OKS_NMS_THRESHOLD = 0.9


def rescore(box_scores: Float32Array, keypoint_scores: Float32Array) -> Float32Array:
    """Person scores (N,) float32: box score x mean of the keypoint scores (N, K) above 0.2."""
    counted = keypoint_scores > KEYPOINT_SCORE_FLOOR
    means = (keypoint_scores * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return np.asarray(box_scores * means, np.float32)


def oks_nms(
    keypoints_xy: Float32Array, scores: Float32Array, areas: Float32Array, sigmas: Sequence[float], threshold: float
) -> list[int]:
    """Indices of the people to keep: greedy by score, dropping people who are too similar to one already kept.

    Args:
        keypoints_xy: (N, K, 2) float32, px.
        scores: (N,) float32.
        areas: (N,) float32, px squared.
        sigmas: K OKS constants.
        threshold: object keypoint similarity above which a person is a duplicate.
    """
    variances = (np.asarray(sigmas) * 2) ** 2
    order = list(np.argsort(-scores, kind="stable"))
    kept: list[int] = []
    while order:
        best = int(order.pop(0))
        kept.append(best)
        rest = np.array(order, int)
        distance = ((keypoints_xy[rest] - keypoints_xy[best]) ** 2).sum(axis=-1)  # (M, K)
        mean_area = (areas[rest] + areas[best])[:, None] / 2 + np.spacing(1)
        similarity = np.exp(-distance / variances / mean_area / 2).mean(axis=1) if len(rest) else np.zeros(0)
        order = [index for index, value in zip(order, similarity, strict=True) if value <= threshold]
    return kept


def kept_people(
    image_ids: Sequence[int],
    keypoints_xy: Float32Array,
    scores: Float32Array,
    areas: Float32Array,
    sigmas: Sequence[float],
) -> list[int]:
    """Indices of the people who are left after OKS-NMS within each picture, best first.

    Args:
        image_ids: N ids.
        keypoints_xy: (N, K, 2) float32, px.
        scores: (N,) float32, as `rescore` gives them.
        areas: (N,) float32, px squared.
        sigmas: K OKS constants.
    """
    by_image: dict[int, list[int]] = {}
    for index, image_id in enumerate(image_ids):
        by_image.setdefault(image_id, []).append(index)
    kept = []
    for members in by_image.values():
        chosen = np.array(members)
        left = oks_nms(keypoints_xy[chosen], scores[chosen], areas[chosen], sigmas, OKS_NMS_THRESHOLD)
        kept += [members[index] for index in left]
    return kept


def coco_results(
    image_ids: Sequence[int],
    keypoints: Float32Array,
    box_scores: Float32Array,
    areas: Float32Array,
    sigmas: Sequence[float],
    *,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """Results in COCO's form, rescored, without duplicates.

    Args:
        image_ids: N ids.
        keypoints: (N, K, 3) float32: x, y in picture px, score.
        box_scores, areas: (N,) float32.
        sigmas: K OKS constants.
        category_id: of the results.
    """
    scores = rescore(box_scores, keypoints[:, :, 2])
    kept = kept_people(image_ids, keypoints[:, :, :2], scores, areas, sigmas)
    return [coco_result(image_ids[index], keypoints[index], scores[index], category_id) for index in kept]


def coco_result(image_id: int, keypoints: Float32Array, score: float, category_id: int = 1) -> dict[str, Any]:
    """One person, keypoints (K, 3), as COCO's result files list them."""
    return {
        "image_id": int(image_id),
        "category_id": category_id,
        "keypoints": [round(float(value), 3) for value in keypoints.reshape(-1)],
        "score": float(score),
    }


def keypoint_ap(
    ground_truth: Mapping[str, Any], results: list[dict[str, Any]], sigmas: Sequence[float]
) -> dict[str, float]:
    """The metrics of METRIC_NAMES in percent; -1 where no person of that size is labelled, as in pycocotools.

    Args:
        ground_truth: a COCO keypoint data set.
        results: as `coco_results` gives them.
        sigmas: K OKS constants.

    Raises:
        ModelError: a result holds NaN or infinity.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        return dict.fromkeys(METRIC_NAMES, 0.0)
    for result in results:  # pycocotools takes NaN for a distance of 0
        require_finite([*result["keypoints"], result["score"]], "a result")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress, and writes into what it is given
        truth = COCO()
        truth.dataset = {"info": {}, **ground_truth}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(result) for result in results]), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, float)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [float(value) * 100 if value >= 0 else -1.0 for value in evaluation.stats]
    return dict(zip(METRIC_NAMES, stats, strict=True))
