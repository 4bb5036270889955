"""Decoding inside the graph gives what `engine/heatmap.py` gives, as PyTorch and as a compiled graph."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from engine.backends.graph_decode import GraphDecoder
from engine.build.onnx_export import trace_to_onnx
from engine.heatmap import decoder_for
from engine.types import Float32Array

MAP = (24, 32)
INPUT = (96, 128)


def maps() -> Float32Array:
    """(40, 3, 32, 24): blurred noise, as of an uncertain network, Gaussians anywhere, also outside, and empty maps."""
    rng = np.random.default_rng(0)
    columns, rows = np.meshgrid(np.arange(MAP[0]), np.arange(MAP[1]))
    centers = rng.uniform(-2, 34, (40, 2, 2, 1, 1)) * np.array([MAP[0] / 32, 1])[:, None, None]
    gaussians = np.exp(-((columns - centers[:, :, 0]) ** 2 + (rows - centers[:, :, 1]) ** 2) / 4.5)  # (40, 2, h, w)
    noise = rng.normal(0, 0.05, (40, 2, MAP[1], MAP[0]))
    noise = (noise + np.roll(noise, 1, 2) + np.roll(noise, 1, 3)) / 3
    both = np.concatenate([gaussians + noise, noise[:, :1]], axis=1)
    both[0] = 0
    both[1] = -np.abs(both[1])
    return both.astype(np.float32)


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize(("name", "sigma"), [("quarter", 0.0), ("dark", 0.0), ("dark", 2.5)])
def test_the_graph_decodes_as_numpy_does(name: str, sigma: float, udp: bool) -> None:
    heatmaps = maps()
    expected = decoder_for(name, sigma=sigma, udp=udp)(heatmaps, INPUT)
    decoder = GraphDecoder(INPUT, MAP, dark=name == "dark", sigma=sigma, udp=udp).eval()
    found = decoder(torch.from_numpy(heatmaps)).numpy()
    np.testing.assert_allclose(found[..., 2], expected[..., 2], atol=1e-6)
    off = np.abs(found[..., :2] - expected[..., :2]).max(axis=2)
    # In noise, float32 and float64 may disagree whether a Newton step is possible; nowhere else.
    assert np.mean(off < 0.01) >= 0.98
    assert (off[:, :2] < 0.01).mean() >= 0.99

    example = (torch.from_numpy(heatmaps),)
    proto = trace_to_onnx(decoder, example, ["heatmaps"], ["keypoints"], {"heatmaps": {0: "N"}, "keypoints": {0: "N"}})
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    compiled = session.run(None, {"heatmaps": heatmaps[:7]})[0]
    close = np.abs(compiled - found[:7]).max(axis=2) < 0.01
    assert close.mean() >= 0.98
