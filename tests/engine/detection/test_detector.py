"""Detectors: boxes in frame px, converted foreign files, and pickles that do not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.detection.detector import PersonDetector, drop_overlapping, resolve_classes
from engine.detection.letterbox import Letterbox
from engine.errors import OptionError
from engine.system.closing import Closing


def _spec(output: str, names: tuple[str, ...] = ("person", "dog"), *, fixed: bool = False) -> ModelSpec:
    shape = ("B", "M", 6) if output == "boxes" else ("B", 4 + len(names), "A")
    size: tuple[int | str, ...] = (320, 320) if fixed else ("H", "W")
    return ModelSpec(
        kind="detector", name="made_up", precision="fp32", input_size_wh=(320, 320),
        inputs=(TensorSpec(name="images", shape=("B", *size, 3), dtype="uint8"),),
        outputs=(TensorSpec(name=output, shape=shape, dtype="float32"),),
        skeleton=None, class_names=names, file_sha256="", weights_sha256="", graph_version=1, made_with={},
    )  # fmt: skip


class FixedAnswer(Closing):
    """A backend that returns the same rows for every frame and records its inputs."""

    name, device, precision = "fixed", "cpu", "fp32"

    def __init__(self, rows: Sequence[Sequence[float]], spec: ModelSpec) -> None:
        self.spec = spec
        self.rows = np.array(rows, np.float32).reshape(-1, 6)
        if spec.output_names == ("candidates",):
            self.rows = np.array(rows, np.float32)
        self.seen: list[np.ndarray] = []

    def infer(self, inputs: Mapping[str, np.ndarray], want: Sequence[str]) -> dict[str, np.ndarray]:
        self.seen.append(inputs["images"].copy())
        return {want[0]: self.rows[None]}

    def close(self) -> None:
        """There are no resources to release."""


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("size_wh", [(640, 480), (1920, 1080), (333, 77), (77, 333), (1, 500), (320, 320), (50, 40)])
def test_boxes_are_mapped_back_to_frame_px(size_wh: tuple[int, int], fixed: bool) -> None:
    width, height = size_wh
    letterbox = Letterbox((320, 320), fixed=fixed)
    image = np.full((height, width, 3), 30, np.uint8)
    low, high = np.array([width * 0.25, height * 0.25]), np.array([width * 0.75, height * 0.75])
    image[int(low[1]) : max(int(high[1]), 1), int(low[0]) : max(int(high[0]), 1)] = 250
    boxed = letterbox.apply(image).copy()
    assert all(side % 32 == 0 for side in boxed.shape[:2])
    assert max(boxed.shape[:2]) == 320
    if fixed:
        assert boxed.shape[:2] == (320, 320)
    ys, xs = np.nonzero((boxed > 140).all(axis=2))
    found = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
    scale = max(size_wh) / 320
    expected = [int(low[0]), int(low[1]), max(int(high[0]), 1), max(int(high[1]), 1)]
    np.testing.assert_allclose(letterbox.to_frame(found, size_wh)[0], expected, atol=1.01 * max(scale, 1))
    grey = (boxed == 114).all(axis=2)
    assert grey[:, 0].all() or grey[0].all() or not grey.any()
    # The buffer is used again; a frame of the same size must leave nothing of the one before.
    np.testing.assert_array_equal(letterbox.apply(np.zeros_like(image)) == 114, np.repeat(grey[..., None], 3, 2))


def test_only_valid_boxes_are_kept_best_first() -> None:
    nan, inf = float("nan"), float("inf")
    rows = [
        [10, 10, 50, 90, 0.5, 0], [0, 0, 20, 20, 0.9, 0], [nan, 0, 20, 20, 0.9, 0], [0, 0, inf, 20, 0.9, 0],
        [30, 30, 30, 60, 0.9, 0], [60, 60, 40, 80, 0.9, 0], [0, 0, 9, 9, 0.29, 0], [0, 0, 9, 9, nan, 0],
        [0, 0, 9, 9, 0.8, 1], [0, 0, 9, 9, 1.7, 0], [400, 10, 500, 50, 0.9, 0], [-50, -50, 900, 900, 0.4, 0],
    ]  # fmt: skip
    backend = FixedAnswer(rows, _spec("boxes"))
    with PersonDetector(backend, score_threshold=0.3) as detector:
        found = detector.detect(np.zeros((160, 320, 3), np.uint8))
        np.testing.assert_allclose(found.scores, [0.9, 0.5, 0.4])
        np.testing.assert_allclose(found.boxes_xyxy[2], [0, 0, 320, 160])
        assert backend.seen[0].shape == (1, 160, 320, 3)
    everything = PersonDetector(backend, 0.3, class_ids=(0, 1), max_boxes=2)
    np.testing.assert_array_equal(everything.detect(np.zeros((160, 320, 3), np.uint8)).class_ids, [0, 1])
    assert everything.backend.spec.class_names == ("person", "dog")
    nobody = PersonDetector(FixedAnswer([], _spec("boxes")))
    assert len(nobody.detect(np.zeros((160, 320, 3), np.uint8))) == 0


def test_the_input_size_can_be_chosen_where_the_network_leaves_it_open() -> None:
    backend = FixedAnswer([], _spec("boxes"))
    PersonDetector(backend, input_size=640).detect(np.zeros((90, 160, 3), np.uint8))
    assert backend.seen[0].shape == (1, 384, 640, 3)
    for wrong in (100, 128, 8192):
        with pytest.raises(OptionError, match="multiple of 32"):
            PersonDetector(backend, input_size=wrong)
    with pytest.raises(OptionError, match="fixed at 320x320"):
        PersonDetector(FixedAnswer([], _spec("boxes", fixed=True)), input_size=640)


def test_overlapping_candidates_of_a_class_are_suppressed() -> None:
    columns = [
        [100, 60, 80, 100, 0.8, 0.1], [102, 61, 80, 100, 0.7, 0.1], [100, 60, 80, 100, 0.1, 0.6],
        [250, 60, 40, 100, 0.5, 0.2], [100, 60, 80, 100, 0.2, 0.2], [float("nan"), 60, 80, 100, 0.9, 0],
    ]  # fmt: skip
    backend = FixedAnswer(np.array(columns).T.tolist(), _spec("candidates"))
    people = PersonDetector(backend, 0.3).detect(np.zeros((160, 320, 3), np.uint8))
    np.testing.assert_allclose(people.boxes_xyxy, [[60, 10, 140, 110], [230, 10, 270, 110]])
    np.testing.assert_allclose(people.scores, [0.8, 0.5])
    both = PersonDetector(backend, 0.3, class_ids=(0, 1)).detect(np.zeros((160, 320, 3), np.uint8))
    np.testing.assert_array_equal(both.class_ids, [0, 1, 0])


@pytest.mark.parametrize("seed", range(40))
def test_suppression_follows_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-20, 60, (80, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 50, (80, 2))], axis=1).astype(np.float32)
    if seed % 4 == 0:
        boxes = np.round(boxes)  # overlaps that are equal
        boxes[:, 2:] += boxes[:, 2:] == boxes[:, :2]  # those without area are no boxes, and go later
    scores = np.sort(np.round(rng.random(80), 1 if seed % 2 else 7).astype(np.float32))[::-1]  # some are equal
    classes = rng.integers(0, 1 + seed % 3, 80)
    expected: list[int] = []
    for i, a in enumerate(boxes.astype(float)):
        for j in expected:
            b = boxes[j].astype(float)
            shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
            if classes[i] == classes[j] and shared > 0.3 * union:
                break
        else:
            expected.append(i)
    assert drop_overlapping(boxes, scores, classes, 0.3).tolist() == expected
    assert len(drop_overlapping(boxes[:0], scores[:0], classes[:0], 0.3)) == 0


def test_classes_by_name_and_number() -> None:
    names = ("person", "dog", "traffic light")
    assert resolve_classes(None, names) == (0,)
    assert resolve_classes("Dog, person,1", names) == (1, 0)
    assert resolve_classes(None, ("item",)) == (0,)
    with pytest.raises(OptionError, match="Did you mean 'dog'"):
        resolve_classes("dogs", names)
    for wrong in ("3", "", "person,"):
        with pytest.raises(OptionError, match="unknown class"):
            resolve_classes(wrong, names)
    with pytest.raises(OptionError, match="--classes"):
        resolve_classes(None, ("cat", "dog"))
