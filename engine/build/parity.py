"""How far a backend's keypoints are from those of float32 PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.backends import Backend
from engine.errors import BackendError
from engine.types import VISIBLE_SCORE, Float32Array, UInt8Array


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The result of a comparison.

    Attributes:
        keypoints: how many were compared.
        within_1px: fraction at most 1 crop px away.
        beyond_4px: fraction more than 4 crop px away.
        similarity: mean object keypoint similarity per keypoint; 1 if no keypoint moved.
        score_error: mean absolute difference of the scores.
        attention_max_error, attention_mean_error: absolute difference of S; None without KCAM.
    """

    keypoints: int
    within_1px: float
    beyond_4px: float
    similarity: float
    score_error: float
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


def compare(
    backend: Backend,
    reference: Backend,
    crops: UInt8Array,
    *,
    score_threshold: float = VISIBLE_SCORE,
    batch_size: int = 8,
) -> ParityReport:
    """Run two backends on the same crops and compare their outputs.

    Args:
        backend: of a pose model.
        reference: the same model, usually on the torch backend in fp32.
        crops: (N, H, W, 3) uint8, BGR.
        score_threshold: keypoints whose reference score is not above it are ignored: their position is noise.
        batch_size: crops per call.

    Raises:
        BackendError: the two do not run the same model, or a runtime failed.
    """
    if backend.spec.weights_sha256 != reference.spec.weights_sha256 or reference.spec.skeleton is None:
        raise BackendError(f"{backend.name} and {reference.name} do not run the same pose model")
    want = ["keypoints", *(["attention"] if "attention" in reference.spec.output_names else [])]
    ours: list[dict[str, Float32Array]] = []
    theirs: list[dict[str, Float32Array]] = []
    for start in range(0, len(crops), batch_size):
        part = {"crops": crops[start : start + batch_size]}
        ours.append(backend.infer(part, want))
        theirs.append(reference.infer(part, want))
    if not ours:
        raise BackendError("parity needs at least one crop")
    attention = [np.abs(a["attention"] - b["attention"]) for a, b in zip(ours, theirs, strict=True) if "attention" in a]
    report = compare_keypoints(
        np.concatenate([outputs["keypoints"] for outputs in ours]),
        np.concatenate([outputs["keypoints"] for outputs in theirs]),
        reference.spec.skeleton.oks_sigmas,
        reference.spec.input_size_wh,
        score_threshold=score_threshold,
    )
    if not attention:
        return report
    return ParityReport(
        **{
            **vars(report),
            "attention_max_error": float(max(error.max() for error in attention)),
            "attention_mean_error": float(np.mean([error.mean() for error in attention])),
        }
    )


def compare_keypoints(
    keypoints: Float32Array,
    reference: Float32Array,
    oks_sigmas: tuple[float, ...],
    input_size_wh: tuple[int, int],
    *,
    score_threshold: float = VISIBLE_SCORE,
) -> ParityReport:
    """Compare keypoints (N, K, 3) in crop px with scores; the attention fields of the report stay empty."""
    chosen = reference[..., 2] > score_threshold
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
        score_error=float(np.abs(keypoints[..., 2] - reference[..., 2])[chosen].mean()) if count else 0.0,
        attention_max_error=None,
        attention_mean_error=None,
    )
