"""Photos and folders of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.sources.opening import open_source
from engine.sources.photos import PhotoSource, decode_photo, natural_key, write_photo
from tests.engine.clips import ClipSpec, frames_of, make_clip, picture, refusal, save_photo

# Photos


def test_folder_is_read_in_natural_order_without_other_files(tmp_path: Path) -> None:
    for name in ("p10.png", "p2.PNG", "p1.png", ".hidden.png"):
        save_photo(tmp_path / name.replace("PNG", "png"), picture(20, 16))
    (tmp_path / "p2.png").rename(tmp_path / "p2.PNG")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub").mkdir()
    source = open_source(str(tmp_path))
    frames = frames_of(source)
    names = [path.name for path in (source.frame_path(f.index) for f in frames) if path is not None]
    assert names == ["p1.png", "p2.PNG", "p10.png"]
    assert source.info.kind == "photos"


def test_natural_key_orders_numbers_by_value() -> None:
    names = ["b1", "a10", "a9", "A1b", "a", "10", "9"]
    ordered = sorted((Path(name) for name in names), key=natural_key)
    assert [p.name for p in ordered] == ["9", "10", "a", "A1b", "a9", "a10", "b1"]


def test_unreadable_photo_is_named_skipped_and_counted(tmp_path: Path) -> None:
    save_photo(tmp_path / "1.jpg", picture(20, 16))
    (tmp_path / "2.jpg").write_text("not a photo")
    save_photo(tmp_path / "3.jpg", picture(20, 16))
    source = open_source(str(tmp_path))
    frames = frames_of(source)
    assert [frame.index for frame in frames] == [0, 1]
    assert source.frame_path(1) == tmp_path / "3.jpg"
    assert source.unreadable_frames == 1
    assert "2.jpg" in source.notes[0]


def test_bad_photos_and_folders_are_refused(tmp_path: Path) -> None:
    assert "no photos" in refusal(tmp_path)
    (tmp_path / "a.jpg").write_text("text")
    assert "not a photo" in refusal(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_text("text")
    assert "none of the 2 photos" in refusal(tmp_path)


def test_non_ascii_paths_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Ünï 写真"
    folder.mkdir()
    save_photo(folder / "фото.jpg", picture(32, 24))
    assert len(frames_of(open_source(str(folder / "фото.jpg")))) == 1
    make_clip(folder / "vidéo: 1.mp4", ClipSpec(frames=3))
    assert len(frames_of(open_source(str(folder / "vidéo: 1.mp4")))) == 3


def test_grey_16_bit_and_alpha_photos_become_8_bit_colour() -> None:
    grey = np.full((8, 10), 77, np.uint8)
    deep = np.full((8, 10, 3), 77 * 256 + 12, np.uint16)
    clear = np.zeros((8, 10, 4), np.uint8)
    clear[:4] = (10, 20, 30, 255)
    for image, top, bottom in (
        (grey, (77, 77, 77), (77, 77, 77)),
        (deep, (77, 77, 77), (77, 77, 77)),
        (clear, (10, 20, 30), (255, 255, 255)),
    ):
        decoded = decode_photo(cv2.imencode(".png", image)[1])
        assert decoded is not None
        assert decoded.shape == (8, 10, 3)
        assert decoded.dtype == np.uint8
        assert np.abs(decoded[1, 1].astype(int) - top).max() <= 1
        assert np.abs(decoded[6, 1].astype(int) - bottom).max() <= 1


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF block with one entry, the orientation, behind the start mark of a JPEG."""
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
        + bytes([0, orientation, 0, 0])
        + b"\0" * 4
    )
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


@pytest.mark.parametrize(("orientation", "corner"), [(1, (2, 2)), (3, (-3, -3)), (6, (2, -3)), (8, (-3, 2))])
def test_exif_orientation_is_honoured(orientation: int, corner: tuple[int, int]) -> None:
    jpeg = cv2.imencode(".jpg", picture(64, 32), [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    image = decode_photo(np.frombuffer(with_exif_orientation(jpeg, orientation), np.uint8))
    assert image is not None
    assert image.shape[:2] == ((64, 32) if orientation in (6, 8) else (32, 64))
    pixel = image[corner].astype(int)
    assert pixel[2] - pixel[0] > 100


def test_photos_are_read_from_a_place_on(tmp_path: Path) -> None:
    for number in range(5):
        write_photo(tmp_path / f"{number}.png", np.full((4, 5, 3), number, np.uint8), ".png")
    for number in (1, 4):
        (tmp_path / f"{number}.png").write_bytes(b"no photo")
    source = open_source(str(tmp_path))
    assert isinstance(source, PhotoSource)
    for position_s, places in ((0.0, [0, 2, 3]), (0.5, [2, 3]), (3.0, [3]), (4.0, [3]), (99.0, [3])):
        source.seek(position_s)
        frames = list(source)
        assert [int(frame.image_bgr[0, 0, 0]) for frame in frames] == places
        assert [frame.timestamp_s for frame in frames] == places
        assert [source.frame_path(frame.index) for frame in frames] == [tmp_path / f"{place}.png" for place in places]
    assert source.unreadable_frames == 2 and len(source.notes) == 2
