"""Boxes to crops and back: the content of the crop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.geometry import apply_affines, box_centers_sizes, boxes_to_affines, crop_affines, invert_affines, warp_crops

SIZE = (192, 256)


def test_the_padded_box_fills_the_crop() -> None:
    """A box at the aspect ratio of the input, padded by 1.25, reaches from edge to edge."""
    affine = boxes_to_affines(np.array([[100, 50, 250, 250]], np.float32), SIZE)
    corners = np.array([[[100 - 18.75, 50 - 25], [250 + 18.75, 250 + 25], [175, 150]]], np.float32)
    np.testing.assert_allclose(apply_affines(affine, corners)[0], [[0, 0], [192, 256], [96, 128]], atol=1e-3)


def test_a_box_is_extended_to_the_aspect_ratio() -> None:
    _, sizes = box_centers_sizes(np.array([[0, 0, 300, 100], [0, 0, 30, 400]], np.float32), SIZE, padding=1.0)
    np.testing.assert_allclose(sizes, [[300, 400], [300, 400]])


@given(
    st.lists(st.floats(-2000, 4000, width=32), min_size=2, max_size=2),
    st.lists(st.floats(0, 3000, width=32), min_size=2, max_size=2),
    st.floats(-180, 180, width=32),
)
def test_round_trip(corner: list[float], extent: list[float], rotation: float) -> None:
    box = np.array([[*corner, corner[0] + extent[0], corner[1] + extent[1]]], np.float32)
    centers, sizes = box_centers_sizes(box, SIZE)
    affines = crop_affines(centers, sizes, SIZE, np.array([rotation], np.float32))
    points = np.array([[[0, 0], [191, 255], [50, 200]]], np.float32)
    back = apply_affines(affines, apply_affines(invert_affines(affines), points))
    # A box of one px at 4,000 px is magnified 200 times, and float32 keeps 4,000 to about 2e-4.
    np.testing.assert_allclose(back, points, atol=0.2)


def test_content_turns_counter_clockwise() -> None:
    affine = crop_affines(
        np.array([[100, 100]], np.float32), np.array([[192, 256]], np.float32), SIZE, np.array([90], np.float32)
    )
    right_of_center = apply_affines(affine, np.array([[[110, 100]]], np.float32))[0, 0]
    np.testing.assert_allclose(right_of_center, [96, 118], atol=1e-3)


def test_warp_puts_pixels_where_the_affine_says() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(image, (260, 120), 6, (255, 255, 255), -1)
    affines = boxes_to_affines(np.array([[200, 50, 350, 250], [0, 0, 60, 80]], np.float32), SIZE)
    buffer = np.full((4, 256, 192, 3), 7, np.uint8)
    crops = warp_crops(image, affines, SIZE, buffer)
    assert np.shares_memory(crops, buffer) and len(crops) == 2
    ys, xs = np.nonzero(crops[0, :, :, 0] > 128)
    expected = apply_affines(affines[:1], np.array([[[260, 120]]], np.float32))[0, 0]
    np.testing.assert_allclose([xs.mean(), ys.mean()], expected, atol=0.5)
    assert not crops[1].any() and (buffer[2:] == 7).all()


@pytest.mark.parametrize("size_wh", [(1600, 3), (24_000, 40)])  # less high than the averaged squares would be
def test_a_strip_is_cropped_in_place(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width * 3 // 4 :] = 255
    affines = boxes_to_affines(np.array([[0, 0, width, height]], np.float32), SIZE)
    row = warp_crops(image, affines, SIZE)[0].max(axis=(0, 2))
    left, right = apply_affines(affines, np.array([[[width * 3 / 4, 0], [width, 0]]], np.float32))[0, :, 0]
    bright = np.flatnonzero(row > row.max() / 2)
    np.testing.assert_allclose([bright[0], bright[-1]], [left, right], atol=1.5)


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [10, 10, 4, 2]])
def test_a_box_without_area_gives_a_finite_crop(box: list[float]) -> None:
    assert np.isfinite(boxes_to_affines(np.array([box], np.float32), SIZE)).all()


def test_an_empty_batch_gives_an_empty_result() -> None:
    affines = boxes_to_affines(np.zeros((0, 4), np.float32), SIZE)
    assert affines.shape == (0, 2, 3) and invert_affines(affines).shape == (0, 2, 3)
    assert warp_crops(np.zeros((10, 10, 3), np.uint8), affines, SIZE).shape == (0, 256, 192, 3)
