"""How far a backend's keypoints are from those of float32 PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.backends import Array, Backend
from engine.errors import BackendError
from engine.types import VISIBLE_SCORE, Float32Array, UInt8Array

_BATCH = 8  # crops per call


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The result of a comparison.

    Attributes:
        keypoints: how many were compared.
        within_1px: fraction at most 1 crop px away.
        beyond_4px: fraction more than 4 crop px away.
        similarity: mean object keypoint similarity per keypoint; 1 if no keypoint moved.
        attention_max_error, attention_mean_error: absolute difference of S; None without KCAM.
    """

    keypoints: int
    within_1px: float
    beyond_4px: float
    similarity: float
    attention_max_error: float | None
    attention_mean_error: float | None

    def failures(self, precision: str, attention_tolerance: float = 0.02) -> list[str]:
        """What is out of tolerance for a precision, each in a few words; empty when the backend may be used."""
        found = []
        similarity, beyond = (0.97, 0.03) if precision == "int8" else (0.99, 0.005)
        if self.keypoints == 0:
            found.append("there was no keypoint to compare")
        elif precision == "fp32" and self.within_1px < 0.999:
            found.append(f"keypoints: {self.within_1px:.2%} within 1 px, 99.9% wanted")
        elif precision != "fp32":
            if self.similarity < similarity:
                found.append(f"keypoints: similarity {self.similarity:.4f}, {similarity} wanted")
            if self.beyond_4px > beyond:
                found.append(f"keypoints: {self.beyond_4px:.2%} off by more than 4 px, at most {beyond:.1%} wanted")
        if precision == "int8":  # single pixels of its attention are far off, see docs/decisions/0013-int8.md
            return found
        if self.attention_max_error is not None and not self.attention_max_error <= attention_tolerance:
            found.append(f"attention: off by {self.attention_max_error:.3f}, at most {attention_tolerance} wanted")
        return found


def compare(backend: Backend, reference: Backend, crops: UInt8Array) -> ParityReport:
    """Run two backends on the same crops and compare their outputs.

    Args:
        backend: of a pose model.
        reference: the same model, usually on the torch backend in fp32.
        crops: (N, H, W, 3) uint8, BGR.

    Raises:
        BackendError: the two do not run the same model, or a runtime failed.
    """
    if backend.spec.weights_sha256 != reference.spec.weights_sha256:
        raise BackendError(f"{backend.name} and {reference.name} do not run the same pose model")
    starts = range(0, len(crops), _BATCH)
    return compare_on(backend, reference, ({"crops": crops[start : start + _BATCH]} for start in starts))


def compare_on(
    backend: Backend, reference: Backend, batches: Iterable[Mapping[str, Array]], *, enough: float = math.inf
) -> ParityReport:
    """Compare two backends of one pose network on inputs, until enough keypoints were compared.

    Raises:
        BackendError: there is no input, it is no pose network, or a runtime failed.
    """
    spec = backend.spec
    if spec.skeleton is None:
        raise BackendError(f"{spec.name} is not a pose network")
    has_attention = "attention" in spec.output_names and "attention" in reference.spec.output_names
    want = ["keypoints", *(["attention"] if has_attention else [])]
    ours: list[Float32Array] = []
    theirs: list[Float32Array] = []
    errors: list[Float32Array] = []
    seen = 0
    for inputs in batches:
        found, expected = backend.infer(inputs, want), reference.infer(inputs, want)
        ours.append(found["keypoints"])
        theirs.append(expected["keypoints"])
        if has_attention:
            errors.append(np.abs(found["attention"] - expected["attention"]))
        seen += int((expected["keypoints"][..., 2] > VISIBLE_SCORE).sum())
        if seen >= enough:
            break
    if not ours:
        raise BackendError("parity needs at least one crop")
    report = compare_keypoints(
        np.concatenate(ours), np.concatenate(theirs), spec.skeleton.oks_sigmas, spec.input_size_wh
    )
    if not errors:
        return report
    return replace(
        report,
        attention_max_error=float(max(error.max() for error in errors)),
        attention_mean_error=float(np.mean([error.mean() for error in errors])),
    )


def compare_keypoints(
    keypoints: Float32Array,
    reference: Float32Array,
    oks_sigmas: tuple[float, ...],
    input_size_wh: tuple[int, int],
) -> ParityReport:
    """Compare keypoints (N, K, 3) in crop px with scores; the attention fields of the report stay empty.

    Keypoints whose reference score is not above VISIBLE_SCORE are ignored: their position is noise.
    """
    chosen = reference[..., 2] > VISIBLE_SCORE
    count = int(chosen.sum())
    distance = np.linalg.norm(keypoints[..., :2].astype(np.float64) - reference[..., :2], axis=-1)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    # A person fills a crop except for the padding factor of 1.25 per side; COCO's scale is the area of the person's
    # mask, which is about half of the box.
    scale_squared = input_size_wh[0] * input_size_wh[1] / 1.25**2 / 2
    variance = (2 * np.asarray(oks_sigmas)) ** 2
    similarity = np.exp(-(distance**2) / (2 * scale_squared * variance))
    picked = distance[chosen]
    return ParityReport(
        keypoints=count,
        within_1px=float((picked <= 1).mean()) if count else 0.0,
        beyond_4px=float((picked > 4).mean()) if count else 1.0,
        similarity=float(similarity[chosen].mean()) if count else 0.0,
        attention_max_error=None,
        attention_mean_error=None,
    )
