"""DARK decoding on Gaussians with known centres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.heatmap import DECODERS, decode_heatmaps, decode_heatmaps_dark

INPUT, MAP = (192, 256), (48, 64)


def gaussian(x: float, y: float, size_wh: tuple[int, int] = MAP, sigma: float = 2) -> np.ndarray:
    """(1, 1, h, w) float32, peak near 1 at (x, y) in heatmap px."""
    columns, rows = np.meshgrid(np.arange(size_wh[0]), np.arange(size_wh[1]))
    value = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return value.astype(np.float32)[None, None]


@given(st.floats(8, 39), st.floats(8, 55))
def test_a_centre_between_px_is_found_to_a_tenth(x: float, y: float) -> None:
    found = decode_heatmaps_dark(gaussian(x, y), INPUT)[0, 0]
    assert abs(found[0] / 4 - x) < 0.02 and abs(found[1] / 4 - y) < 0.02
    quarter = decode_heatmaps(gaussian(x, y), INPUT)[0, 0]
    assert found[2] == quarter[2]  # the score is the height of the original peak, not of the smoothed one


def test_noise_moves_it_by_less_than_a_tenth_on_average() -> None:
    rng = np.random.default_rng(0)
    centers = rng.uniform(10, 38, (200, 2))
    exact = np.concatenate([gaussian(x, y) for x, y in centers])
    maps = (exact + rng.normal(0, 0.02, (200, 1, 64, 48))).astype(np.float32)
    errors = {name: np.abs(decode(maps, INPUT)[:, 0, :2] / 4 - centers).mean() for name, decode in DECODERS.items()}
    assert errors["dark"] < 0.1 and errors["dark"] < errors["quarter"]


def test_a_gaussian_of_another_size_and_width() -> None:
    """At 96x72 the recipe's sigma is 3; the shape of the Gaussian need not be what it is smoothed with."""
    small = decode_heatmaps_dark(gaussian(10.3, 15.8, (24, 32), 1.5), (96, 128))[0, 0]
    np.testing.assert_allclose(small[:2] / 4, [10.3, 15.8], atol=0.05)
    for sigma in (2.5, 3, 4):
        found = decode_heatmaps_dark(gaussian(30.3, 50.8, (72, 96), sigma), (288, 384))[0, 0]
        np.testing.assert_allclose(found[:2] / 4, [30.3, 50.8], atol=0.05)


@pytest.mark.parametrize(("x", "y"), [(0, 30), (1, 30), (46, 30), (47, 63), (20, 0), (20, 62), (0.4, 0.4), (-3, 20)])
def test_at_the_edge_the_highest_px_is_kept(x: float, y: float) -> None:
    found = decode_heatmaps_dark(gaussian(x, y), INPUT)[0, 0]
    expected = [min(max(round(x), 0), 47), min(max(round(y), 0), 63)]
    np.testing.assert_array_equal(found[:2] / 4, expected)


@pytest.mark.parametrize(("x", "y"), [(2.3, 30.2), (45.0, 30.4), (20.1, 2.4), (20.6, 61.0)])
def test_near_the_edge_half_a_px_holds(x: float, y: float) -> None:
    """There the smoothing sees only a part of the Gaussian."""
    found = decode_heatmaps_dark(gaussian(x, y), INPUT)[0, 0]
    np.testing.assert_allclose(found[:2] / 4, [x, y], atol=0.5)


def test_maps_without_a_maximum_give_the_highest_px() -> None:
    empty = decode_heatmaps_dark(np.full((1, 1, 64, 48), -0.5, np.float32), INPUT)[0, 0]
    assert empty.tolist() == [0, 0, -0.5]
    flat = decode_heatmaps_dark(np.ones((1, 1, 64, 48), np.float32), INPUT)[0, 0]
    assert flat.tolist() == [0, 0, 1]
    noise = np.random.default_rng(0).uniform(-1, 1, (50, 3, 64, 48)).astype(np.float32)
    found = decode_heatmaps_dark(noise, INPUT)
    peaks = noise.reshape(50, 3, -1).argmax(axis=2)
    assert np.isfinite(found).all()
    assert np.abs(found[..., 0] / 4 - peaks % 48).max() <= 2
