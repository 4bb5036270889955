"""Heatmaps: encoding and decoding are inverse, and follow the official rules at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.heatmap import decode_heatmaps, encode_heatmaps

INPUT, MAP = (192, 256), (48, 64)
ONE = np.ones(1, np.float32)


def encode(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    return encode_heatmaps(np.array([[x, y]], np.float32), ONE, INPUT, MAP, 2)


@given(st.floats(12, 180, width=32), st.floats(12, 244, width=32))
def test_decoding_finds_what_was_encoded_to_half_a_heatmap_px(x: float, y: float) -> None:
    heatmaps, _ = encode(x, y)
    found = decode_heatmaps(heatmaps[None], INPUT)[0, 0]
    assert abs(found[0] - x) <= 2.001 and abs(found[1] - y) <= 2.001
    assert found[2] == pytest.approx(1)


def test_the_gaussian_is_exact_within_three_sigma() -> None:
    heatmaps, weights = encode(80, 120)
    assert weights.tolist() == [1]
    for dx, dy in ((0, 0), (2, 0), (-3, 4), (6, 6)):
        expected = math.exp(-(dx**2 + dy**2) / 8)
        assert heatmaps[0, 30 + dy, 20 + dx] == pytest.approx(expected, rel=1e-5)
    assert heatmaps[0, 30, 27] == 0 and heatmaps[0, 23, 20] == 0


def test_a_quarter_px_towards_the_higher_neighbour() -> None:
    maps = np.zeros((1, 2, 64, 48), np.float32)
    maps[0, 0, 30, 20], maps[0, 0, 30, 21], maps[0, 0, 29, 20] = 1, 0.5, 0.4
    maps[0, 1, 63, 47] = 1  # a peak in the corner is not shifted
    found = decode_heatmaps(maps, INPUT)[0]
    np.testing.assert_allclose(found, np.array([[20.25 * 4, 29.75 * 4, 1], [47 * 4, 63 * 4, 1]]))


def test_no_response_gives_the_origin_and_its_score() -> None:
    found = decode_heatmaps(np.full((1, 1, 64, 48), -0.5, np.float32), INPUT)[0, 0]
    assert found.tolist() == [0, 0, -0.5]


@pytest.mark.parametrize(("x", "weight"), [(-24, 1), (-30, 0), (191 + 20, 1), (191 + 24, 0)])
def test_a_keypoint_outside_has_weight_only_while_its_gaussian_reaches_in(x: float, weight: float) -> None:
    heatmaps, weights = encode(x, 100)
    assert weights[0] == weight
    assert bool(heatmaps.any()) == bool(weight)


def test_an_unlabelled_keypoint_has_no_weight() -> None:
    heatmaps, weights = encode_heatmaps(
        np.array([[50, 50], [60, 60]], np.float32), np.array([0, 2], np.float32), INPUT, MAP, 2
    )
    assert weights.tolist() == [0, 1] and not heatmaps[0].any()


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert decode_heatmaps(np.zeros((0, 17, 64, 48), np.float32), INPUT).shape == (0, 17, 3)
