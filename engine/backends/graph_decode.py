"""Heatmaps to keypoints inside the compiled graph: `engine/heatmap.py` in torch, with the same numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.geometry import heatmap_stride
from engine.heatmap import DARK_MAX_STEP, recipe_sigma

# x and y offsets of the pixels that DARK reads: the peak, then pairs for the first, second and mixed derivatives.
_DARK_OFFSETS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (-2, 0), (0, 2), (0, -2),
                 (1, 1), (-1, 1), (1, -1), (-1, -1))  # fmt: skip
_QUARTER_OFFSETS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


class GraphDecoder(nn.Module):
    """Decodes heatmaps to keypoints.

    Args:
        input_size_wh, heatmap_size_wh: width and height of the crop and of the maps in px.
        dark: distribution-aware decoding instead of the quarter-pixel shift.
        sigma: of the Gaussians that the network learnt, in heatmap px; 0 for the recipe's default.
        udp: see geometry.py.
    """

    across: Tensor

    def __init__(
        self,
        input_size_wh: tuple[int, int],
        heatmap_size_wh: tuple[int, int],
        *,
        dark: bool = False,
        sigma: float = 0.0,
        udp: bool = False,
    ) -> None:
        super().__init__()
        self.size_wh = heatmap_size_wh
        self.stride_xy = heatmap_stride(input_size_wh, heatmap_size_wh, udp=udp)
        self.dark = dark
        sigma = sigma or recipe_sigma(heatmap_size_wh[1])
        self.radius = math.ceil(3 * sigma)
        distance = torch.arange(-self.radius, self.radius + 1, dtype=torch.float64)
        kernel = torch.exp(-(distance**2) / (2 * sigma**2)).float()
        self.register_buffer("across", kernel.view(1, 1, 1, -1), persistent=False)

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Heatmaps (N, K, h, w) float32 to (N, K, 3) float32: x, y in crop px and the height of the peak."""
        width = self.size_wh[0]
        flat = heatmaps.flatten(2)  # (N, K, P)
        index = flat.argmax(dim=2, keepdim=True)  # (N, K, 1)
        x = index % width
        y = torch.div(index, width, rounding_mode="floor")
        if self.dark:
            peak = flat.gather(2, index)
            shift_x, shift_y = self._newton_step(heatmaps, x, y)
        else:
            peak, shift_x, shift_y = self._quarter_step(flat, x, y)
        positive = (peak > 0).float()
        keypoint_x = (x.float() + shift_x) * self.stride_xy[0] * positive
        keypoint_y = (y.float() + shift_y) * self.stride_xy[1] * positive
        return torch.cat([keypoint_x, keypoint_y, peak], dim=2)

    def _quarter_step(self, flat: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Height of the peak, and a quarter px towards the higher neighbour; each (N, K, 1)."""
        width, height = self.size_wh
        peak, right, left, below, above = self._at(flat, x, y, _QUARTER_OFFSETS)
        free = ((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)).float() * 0.25
        return peak, torch.sign(right - left) * free, torch.sign(below - above) * free

    def _newton_step(self, heatmaps: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Offset from the highest px to the vertex of the parabola fitted to the smoothed map's log; each (N, K, 1)."""
        width, height = self.size_wh
        maps = heatmaps.reshape(-1, 1, height, width)  # (N K, 1, h, w)
        maps = functional.conv2d(maps, self.across, padding=(0, self.radius))
        maps = functional.conv2d(maps, self.across.transpose(2, 3), padding=(self.radius, 0))
        smooth = maps.reshape(heatmaps.shape)
        log = torch.log(smooth.flatten(2).clamp(min=1e-10))  # (N, K, P)
        o, e, w, s, n, ee, ww, ss, nn_, se, sw, ne, nw = self._at(log, x, y, _DARK_OFFSETS)
        dx, dy = (e - w) / 2, (s - n) / 2
        dxx, dyy = (ee - 2 * o + ww) / 4, (ss - 2 * o + nn_) / 4
        dxy = (se - ne - sw + nw) / 4
        determinant = dxx * dyy - dxy * dxy
        inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
        summit = inside & (dxx < 0) & (determinant > 1e-12)
        safe = torch.where(summit, determinant, torch.ones_like(determinant))
        step_x, step_y = (dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe
        near = summit & (step_x.abs() <= DARK_MAX_STEP) & (step_y.abs() <= DARK_MAX_STEP)
        nothing = torch.zeros_like(step_x)
        return torch.where(near, step_x, nothing), torch.where(near, step_y, nothing)

    def _at(self, flat: Tensor, x: Tensor, y: Tensor, offsets: tuple[tuple[int, int], ...]) -> tuple[Tensor, ...]:
        """Values of maps (N, K, P) at offsets from (x, y), each (N, K, 1); coordinates are clamped to the map."""
        width, height = self.size_wh
        places = [(y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1) for dx, dy in offsets]
        # One gather for all offsets: starting a gather costs a runtime more than the few numbers do.
        return torch.split(flat.gather(2, torch.cat(places, dim=2)), 1, dim=2)
