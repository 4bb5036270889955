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


def attention_loss(attention: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """How far S is from attending to the keypoints next to each pixel; not in the paper.

    Nothing in equation 4 says where a pixel without a keypoint should look, and training gives all of the background to
    one keypoint (docs/decisions/0022-attention-loss.md). Here the wanted attention of a pixel is the soft-max over the
    labelled keypoints of -d^2 / (2 s^2), d its distance to the keypoint and s a sixteenth of the heatmap's height.

    Args:
        attention: (B, K, h, w), S.
        targets: (B, K, h, w), with their peak at the keypoint.
        weights: (B, K), above 0 where a keypoint has a label. The others are left out of both distributions, because
            nobody knows which pixels are theirs.

    Returns:
        Mean over people and pixels of the Kullback-Leibler divergence in nats: 0 where S is as wanted.
    """
    height, width = attention.shape[2:]
    labelled = (weights > 0)[:, :, None]  # (B, K, 1)
    peak = targets.flatten(2).argmax(dim=2)[:, :, None]  # (B, K, 1)
    pixel = torch.arange(height * width, device=attention.device)
    rows, columns = (pixel // width - peak // width).float(), (pixel % width - peak % width).float()  # (B, K, P)
    squared = rows.square() + columns.square()
    wanted = (-squared / (2 * (height / 16) ** 2)).masked_fill(~labelled, -1e4).log_softmax(dim=1)
    found = attention.float().clamp_min(1e-12).log().flatten(2).masked_fill(~labelled, -1e4).log_softmax(dim=1)
    divergence = (wanted.exp() * (wanted - found)).sum(dim=1).mean(dim=1)  # (B,)
    # With no keypoint labelled both are uniform, with one both are certain: such people add nothing.
    return divergence.mean()


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
