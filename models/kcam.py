"""Keypoint Context Aggregation Module (Wu, Wang, Guo, Liu: "Keypoint Context Aggregation for Human Pose Estimation").

Section 3 of the paper on one screen: coarse heatmaps -> keypoint areas G -> keypoint representations R (equation 1)
-> pixel-keypoint attention S (equation 2) -> aggregated features E (equation 3) -> augmented features A.

Letters: B batch, K keypoints, C channels, h w heatmap, P = h * w pixels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Fusion = Literal["concat", "add", "none"]
AreaNormalization = Literal["sum", "softmax"]

# Far below the sum of a learnt Gaussian (about 25) and far above the rounding error of 16 bits.
_AREA_EPSILON = 1e-4


class KCAMOutput(NamedTuple):
    """The outputs of the module.

    Attributes:
        augmented: (B, C, h, w), the augmented features A.
        areas: (B, K, h, w) float32, the soft keypoint areas G; each map sums to 1 over its pixels, and to 0 where the
            coarse heatmap has no positive response.
        attention: (B, K, h, w) float32, the attention S; sums to 1 over the keypoints at each pixel.
        representations: (B, K, C), the keypoint representations R.
    """

    augmented: Tensor
    areas: Tensor
    attention: Tensor
    representations: Tensor


class KCAM(nn.Module):
    """The paper's head between the backbone's features F and the final heatmaps.

    Args:
        channels: C of the features.
        num_keypoints: K.
        fusion: how E joins F: "concat" (the paper's choice), "add", or "none" (E alone), as in table 2.
        area_normalization: how coarse heatmaps become areas. "sum" is relu(M) / sum(relu(M)); "softmax" is a soft-max
            over the pixels with a learned temperature. The paper says only "the normalized degree"; see
            docs/decisions/0001-area-normalization.md.
    """

    def __init__(
        self,
        channels: int,
        num_keypoints: int,
        fusion: Fusion = "concat",
        area_normalization: AreaNormalization = "sum",
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.area_normalization = area_normalization
        # F -> F'. Without the batch norm the logits of equation 2 have the scale of the backbone's features; where
        # those are small, the attention stays flat (docs/decisions/0008-attention-scale.md).
        self.query = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.key = nn.Conv1d(channels, channels, 1, bias=False)  # R -> R'; a bias would cancel in the soft-max
        self.value = nn.Conv1d(channels, channels, 1)  # R -> R''
        fused = channels * 2 if fusion == "concat" else channels
        self.fuse = nn.Sequential(
            nn.Conv2d(fused, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        for layer in (self.key, self.value):
            nn.init.orthogonal_(layer.weight)  # keeps the distances between the representations
        if area_normalization == "softmax":
            # exp(3) = 20: a learnt Gaussian of height 1 is then well above its surroundings from the start.
            self.log_temperature = nn.Parameter(torch.full((num_keypoints, 1), 3.0))

    def keypoint_areas(self, coarse_heatmaps: Tensor) -> Tensor:
        """G: (B, K, P) float32 from coarse heatmaps (B, K, h, w); computed in float32 for any input type."""
        maps = coarse_heatmaps.float().flatten(2)  # (B, K, P)
        if self.area_normalization == "softmax":
            return torch.softmax(maps * self.log_temperature.float().exp(), dim=2)
        positive = torch.relu(maps)
        return positive / (positive.sum(dim=2, keepdim=True) + _AREA_EPSILON)

    def forward(self, features: Tensor, coarse_heatmaps: Tensor) -> KCAMOutput:
        """Aggregate keypoint context.

        Args:
            features: (B, C, h, w), F.
            coarse_heatmaps: (B, K, h, w).
        """
        grid = coarse_heatmaps.shape  # (B, K, h, w)
        areas = self.keypoint_areas(coarse_heatmaps)  # (B, K, P)
        pixels = features.flatten(2)  # (B, C, P)
        # Equation 1: R_k = sum_i g_ik f_i.
        representations = torch.matmul(areas.to(pixels.dtype), pixels.transpose(1, 2))  # (B, K, C)
        by_channel = representations.transpose(1, 2)  # (B, C, K)
        # Equation 2: S_ij = softmax over the keypoints j of F'_i . R'_j. The mean over the keypoints is taken from R':
        # that shifts all logits of a pixel by the same number, so S is unchanged. The convolution of R' is linear, so
        # the mean can be subtracted before anything is rounded to 16 bits, which makes the error about fifty times
        # smaller.
        differences = areas - areas.mean(dim=1, keepdim=True)  # (B, K, P)
        from_mean = torch.matmul(differences.to(pixels.dtype), pixels.transpose(1, 2))  # (B, K, C)
        key = self.key(from_mean.transpose(1, 2))  # (B, C, K)
        query = self.query(features).flatten(2)  # (B, C, P)
        logits = torch.matmul(key.transpose(1, 2), query)  # (B, K, P)
        attention = torch.softmax(logits.float(), dim=1)  # (B, K, P)
        # Equation 3: E_i = sum_j S_ij R''_j.
        value = self.value(by_channel)  # (B, C, K)
        aggregated = torch.matmul(value, attention.to(value.dtype))  # (B, C, P)
        aggregated = aggregated.reshape(features.shape)  # (B, C, h, w)
        return KCAMOutput(
            augmented=self.fuse(self._join(features, aggregated)),
            areas=areas.reshape(grid),
            attention=attention.reshape(grid),
            representations=representations,
        )

    def _join(self, features: Tensor, aggregated: Tensor) -> Tensor:
        if self.fusion == "concat":
            return torch.cat([features, aggregated], dim=1)  # (B, 2C, h, w)
        if self.fusion == "add":
            return features + aggregated
        return aggregated
