"""Equations 4 and 5 of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from models.pose_model import PoseOutput


def heatmap_loss(heatmaps: Tensor, targets: Tensor, weights: Tensor, hardest: int = 0) -> Tensor:
    """Equation 5 as the official HRNet code reads it: 0.5 x mean squared difference x visibility.

    The mean runs over batch, keypoints and pixels; see docs/decisions/0004-loss.md.

    Args:
        heatmaps, targets: (B, K, h, w).
        weights: (B, K), 1 where the keypoint counts, else 0.
        hardest: online hard keypoint mining: the mean runs over so many keypoints of each person, those of the largest
            loss, as in the official code; 0 or K for all.
    """
    difference = (heatmaps.float() - targets) * weights[:, :, None, None]
    if not 0 < hardest < heatmaps.shape[1]:
        return 0.5 * difference.square().mean()
    by_keypoint = 0.5 * difference.square().mean(dim=(2, 3))  # (B, K)
    return by_keypoint.topk(hardest, dim=1).values.mean()


def total_loss(
    output: PoseOutput, targets: Tensor, weights: Tensor, alpha: float, hardest: int = 0
) -> dict[str, Tensor]:
    """Equation 4: L = alpha * L_inter + L_output; `loss` is the total.

    Args:
        output: of the network; without coarse heatmaps the coarse term is absent.
        targets: (B, K, h, w).
        weights: (B, K).
        alpha: 0.2 in the paper; 0 switches coarse supervision off.
        hardest: see `heatmap_loss`; of the final heatmaps alone, as CPN mines in its second network only.
    """
    final = heatmap_loss(output.heatmaps, targets, weights, hardest)
    losses = {"loss_output": final, "loss": final}
    if output.coarse_heatmaps is not None and alpha > 0:
        coarse = heatmap_loss(output.coarse_heatmaps, targets, weights)
        losses["loss_inter"] = coarse
        losses["loss"] = final + alpha * coarse
    return losses


@torch.no_grad()
def context_statistics(output: PoseOutput) -> dict[str, Tensor]:
    """Whether the areas are sharp and the attention is not flat, per batch.

    Returns:
        `peak_times_pixels` (B, K): highest value of each area x its number of pixels (1 = uniform);
        `representation_cosine` (B,): mean cosine between the K representations of a person (1 = all alike);
        `attention_entropy` (B,): mean entropy of the attention over its pixels / log K (1 = flat).
    """
    if output.areas is None or output.attention is None or output.representations is None:
        return {}
    keypoints = output.areas.shape[1]
    areas = output.areas.float().flatten(2)  # (B, K, P)
    unit = torch.nn.functional.normalize(output.representations.float(), dim=2)  # (B, K, C)
    cosine = torch.matmul(unit, unit.transpose(1, 2))  # (B, K, K)
    off_diagonal = (cosine.sum(dim=(1, 2)) - cosine.diagonal(dim1=1, dim2=2).sum(1)) / max(1, keypoints**2 - keypoints)
    attention = output.attention.float().flatten(2)  # (B, K, P)
    entropy = -(attention * attention.clamp_min(1e-12).log()).sum(1).mean(1)  # (B,)
    log_k = torch.log(torch.tensor(float(max(2, keypoints))))
    return {
        "peak_times_pixels": areas.amax(2) * areas.shape[2],
        "representation_cosine": off_diagonal,
        "attention_entropy": entropy / log_k.to(entropy),
    }
