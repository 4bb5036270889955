"""The head against the paper's equations, written out as plain loops in float64."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.kcam import KCAM, AreaNormalization, Fusion

Float64 = npt.NDArray[np.float64]


def loop_areas(head: KCAM, coarse: Float64) -> Float64:
    """G by definition, one keypoint and one pixel at a time."""
    keypoints, pixels = coarse.shape
    areas = np.zeros((keypoints, pixels))
    for k in range(keypoints):
        if head.area_normalization == "softmax":
            scale = math.exp(float(head.log_temperature[k, 0].detach()))
            exponents = [math.exp(scale * coarse[k, i]) for i in range(pixels)]
            for i in range(pixels):
                areas[k, i] = exponents[i] / sum(exponents)
        else:
            total = sum(max(0.0, coarse[k, i]) for i in range(pixels))
            for i in range(pixels):
                areas[k, i] = max(0.0, coarse[k, i]) / (total + 1e-4)
    return areas


def loop_attention(head: KCAM, features: Float64, coarse: Float64) -> tuple[Float64, Float64, Float64]:
    """R (K, C), S (K, P) and E (C, P) by equations 1 to 3, without the shift of R' by its mean."""
    channels, pixels = features.shape
    keypoints = coarse.shape[0]
    areas = loop_areas(head, coarse)
    wq, _ = weights(head.query[0])
    norm = cast(torch.nn.BatchNorm2d, head.query[1])
    gain = (norm.weight / (cast(torch.Tensor, norm.running_var) + norm.eps).sqrt()).detach().double().numpy()
    offset = (norm.bias - cast(torch.Tensor, norm.running_mean) * torch.from_numpy(gain)).detach().double().numpy()
    wk, _ = weights(head.key)
    wv, bv = weights(head.value)
    representations = np.zeros((keypoints, channels))
    for k in range(keypoints):
        for i in range(pixels):
            representations[k] += areas[k, i] * features[:, i]
    attention = np.zeros((keypoints, pixels))
    aggregated = np.zeros((channels, pixels))
    for i in range(pixels):
        query = gain * (wq @ features[:, i]) + offset
        logits = [float(query @ (wk @ representations[j])) for j in range(keypoints)]
        highest = max(logits)
        exponents = [math.exp(logit - highest) for logit in logits]
        for j in range(keypoints):
            attention[j, i] = exponents[j] / sum(exponents)
            aggregated[:, i] += attention[j, i] * (wv @ representations[j] + bv)
    return representations, attention, aggregated


def weights(layer: torch.nn.Module) -> tuple[Float64, Float64]:
    weight = cast(torch.Tensor, layer.weight).detach().double().flatten(1).numpy()
    bias = cast(torch.Tensor | None, layer.bias)
    return weight, np.zeros(len(weight)) if bias is None else bias.detach().double().numpy()


def inputs(channels: int = 6, keypoints: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, channels, 4, 3, generator=generator, dtype=torch.float64)
    coarse = torch.rand(2, keypoints, 4, 3, generator=generator, dtype=torch.float64) - 0.3
    return features, coarse.float().double()  # areas are made in float32, so the reference starts from the same values


@pytest.mark.parametrize("normalization", ["sum", "softmax"])
@pytest.mark.parametrize("fusion", ["concat", "add", "none"])
def test_equations_equal_plain_loops(normalization: AreaNormalization, fusion: Fusion) -> None:
    torch.manual_seed(0)
    features, coarse = inputs()
    head = KCAM(6, 5, fusion, normalization).double()
    head(features * 3 + 1, coarse)  # so that the batch norms have statistics to apply
    head.eval()
    if normalization == "softmax":
        with torch.no_grad():
            head.log_temperature.copy_(torch.linspace(0, 2, 5)[:, None])
    output = head(features, coarse)
    for b in range(2):
        f, m = features[b].flatten(1).numpy(), coarse[b].flatten(1).numpy()
        representations, attention, aggregated = loop_attention(head, f, m)
        np.testing.assert_allclose(output.areas[b].flatten(1).detach(), loop_areas(head, m), atol=1e-6)
        np.testing.assert_allclose(output.representations[b].detach(), representations, atol=1e-5)
        np.testing.assert_allclose(output.attention[b].flatten(1).detach(), attention, atol=1e-5)
        joined = {"concat": np.concatenate([f, aggregated]), "add": f + aggregated, "none": aggregated}[fusion]
        convolution = cast(torch.Tensor, head.fuse[0].weight).detach().flatten(1).numpy() @ joined
        norm = cast(torch.nn.BatchNorm2d, head.fuse[1])
        mean, variance = (cast(torch.Tensor, v).numpy()[:, None] for v in (norm.running_mean, norm.running_var))
        augmented = np.maximum((convolution - mean) / np.sqrt(variance + norm.eps), 0)
        np.testing.assert_allclose(output.augmented[b].flatten(1).detach(), augmented, atol=1e-5)


def test_areas_sum_to_one_and_attention_sums_to_one_over_keypoints() -> None:
    features, coarse = inputs()
    head = KCAM(6, 5).double()
    output = head(features, coarse)
    torch.testing.assert_close(output.areas.sum(dim=(2, 3)), torch.ones(2, 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(output.attention.sum(dim=1), torch.ones(2, 4, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_attention_is_not_flat_whatever_the_scale_of_the_features(scale: float) -> None:
    """Measured on a first training: features of small scale left S uniform, and the head did nothing."""
    torch.manual_seed(0)
    features = torch.relu(torch.randn(4, 64, 16, 12))
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    coarse = torch.stack([torch.exp(-((x - k) ** 2 + (y - k) ** 2) / 4) for k in range(8)]).expand(4, 8, 16, 12)
    head = KCAM(64, 8)
    attention = head(features * scale, coarse).attention
    # The features' own scale still stands in R, on purpose: the network may learn the sharpness of S.
    spread = attention.std(dim=1).mean() * 8
    assert spread > 0.1 * min(1.0, scale)
    assert head(features, coarse).attention.std(dim=1).mean() * 8 > 0.3


def test_an_absent_keypoint_gives_no_nan() -> None:
    features, coarse = inputs()
    coarse[:, 2] = -1.0
    output = KCAM(6, 5).double()(features, coarse)
    assert torch.isfinite(output.augmented).all()
    assert (output.areas[:, 2] == 0).all()


def test_sum_areas_follow_the_peak_where_a_softmax_is_nearly_uniform() -> None:
    """Why "sum" is the default: maps learnt from Gaussians lie between 0 and 1."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    coarse = torch.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 8)[None, None]
    by_sum = KCAM(4, 1).keypoint_areas(coarse).amax() * 64 * 48
    plain = torch.softmax(coarse.flatten(2), dim=2).amax() * 64 * 48
    assert by_sum > 50
    assert plain < 3


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 1e-3), (torch.float16, 1e-4)])
def test_the_common_part_of_keypoints_costs_no_precision_in_16_bits(dtype: torch.dtype, limit: float) -> None:
    """Nearly equal representations and logits of hundreds: S must depend only on the differences."""
    torch.manual_seed(1)
    head = KCAM(64, 17).eval()
    with torch.no_grad():
        cast(torch.nn.BatchNorm2d, head.query[1]).bias.fill_(20.0)
        features = torch.randn(1, 64, 16, 12) + 2
        coarse = 1 + 0.3 * torch.rand(1, 17, 16, 12)
        exact = head(features, coarse).attention
        half = head.to(dtype)
        rounded = half(features.to(dtype), coarse).attention.float()
        # The plain order of equation 2, for comparison: keys first, then the soft-max over all of the logit.
        keys = half.key(half(features.to(dtype), coarse).representations.transpose(1, 2))
        logits = torch.matmul(keys.transpose(1, 2), half.query(features.to(dtype)).flatten(2)).float()
        plain = torch.softmax(logits, dim=1).reshape(exact.shape)
    error, plain_error = ((value - exact).abs().mean() for value in (rounded, plain))
    assert logits.abs().mean() > 200 and plain_error > 10 * error
    assert error < limit
