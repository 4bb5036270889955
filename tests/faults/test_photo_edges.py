"""Photos at the edges: orientation in every format with and without alpha, several pictures, damage, and size."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import SourceError
from engine.sources.opening import open_source
from engine.sources.photo_format import picture_count
from engine.sources.photos import decode_photo, read_photo
from engine.types import UInt8Array
from tests.engine.clips import left_in, picture, save_photo
from tests.faults.ledger import ROOT, Fault
from tests.faults.light import Run, command

__all__ = ["command"]

pytestmark = pytest.mark.fault("photos")

Image = pytest.importorskip("PIL.Image", reason="Pillow, which makes the photos, is not installed")

FORMATS = {"PNG": ".png", "WEBP": ".webp", "TIFF": ".tiff", "AVIF": ".avif", "JPEG": ".jpg"}


def quarters() -> UInt8Array:
    """(48, 80, 3) RGB whose quarters differ, so that each of the eight orientations looks different."""
    image = np.zeros((48, 80, 3), np.uint8)
    image[:24, :40], image[:24, 40:], image[24:, :40], image[24:, 40:] = (230, 20, 20), (20, 200, 20), (20, 20, 230), 90
    return image


UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_every_orientation_is_applied(form: str, mode: str, tmp_path: Path, fault: Fault) -> None:
    """Against NumPy; transparent parts are white."""
    if (form, mode) in {("JPEG", "RGBA"), ("JPEG", "LA"), ("JPEG", "P")}:
        pytest.skip("JPEG holds no such pictures")
    if (form, mode) == ("TIFF", "LA"):
        pytest.skip("OpenCV reads no transparency of a grey TIFF")
    for orientation, turn in UPRIGHT.items():
        image = Image.fromarray(quarters())
        expected = quarters()
        if mode in ("L", "LA"):
            image = image.convert("L")
            expected = np.repeat(np.asarray(image)[:, :, None], 3, axis=2)
        if mode in ("RGBA", "LA"):
            alpha = np.full((48, 80), 255, np.uint8)
            alpha[24:, 40:] = 0
            image = image.convert(mode)
            image.putalpha(Image.fromarray(alpha))
            expected = np.where(alpha[:, :, None] == 0, 255, expected).astype(np.uint8)
        if mode == "P":
            image = image.convert("P")
            expected = np.asarray(image.convert("RGB"))
        exif = Image.Exif()
        exif[274] = orientation
        file = tmp_path / f"o{orientation}{FORMATS[form]}"
        extra = {"lossless": True} if form == "WEBP" else {"quality": 95}
        image.save(file, form, exif=exif, **extra)
        read = read_photo(file)[:, :, ::-1]
        wanted = turn(expected)
        assert read.shape == wanted.shape, f"orientation {orientation}: {read.shape}"
        inner = np.abs(read.astype(int) - wanted.astype(int))
        assert np.median(inner) < (20 if form == "AVIF" and mode == "P" else 6) and inner.mean() < 20, (
            f"orientation {orientation}"
        )
    fault.more(len(UPRIGHT))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_several_pictures_are_said(form: str, count: int, tmp_path: Path, fault: Fault) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    file = folder / f"many{FORMATS[form]}"
    frames = [Image.fromarray(np.roll(quarters(), 9 * number, axis=1)) for number in range(count)]
    frames[0].save(file, form, save_all=True, append_images=frames[1:])
    assert picture_count(file.read_bytes()) == count
    with open_source(str(folder)) as source:
        assert sum(1 for _ in source) == 1
        assert any("first of its" in note for note in source.notes) == (count > 1)


def damaged(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    if seed % 4 == 0:
        return content[: chance.randrange(1, len(content))]
    changed = bytearray(content)
    for _ in range(1 + seed % 7):
        changed[chance.randrange(len(changed) if seed % 4 == 1 else min(200, len(changed)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_photos_are_silent_and_told(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: Fault
) -> None:
    """Read or refused in one line, and the libraries print nothing of their own."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8))
    good = tmp_path / f"good{FORMATS[form]}"
    image.save(good, form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    content = good.read_bytes()
    count = 60
    capfd.readouterr()
    for seed in range(count):
        data = damaged(content, seed)
        picture_count(data)
        file = tmp_path / f"bad{FORMATS[form]}"
        file.write_bytes(data)
        try:
            read = read_photo(file)
            assert read.ndim == 3 and read.dtype == np.uint8
        except SourceError as error:
            assert len(str(error).splitlines()) == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    fault.more(count)


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG that states a size, with nothing behind it."""
    body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG whose head states another size."""
    done, data = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    assert done
    content = bytearray(data.tobytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


SIZES = [(27_000, 27_000), (65_000, 11_100), (40_000, 10), (10, 40_000), (32_768, 1), (65_535, 65_535)]


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize("make", [png_of, jpeg_of])
def test_a_photo_that_is_too_large_does_not_take_the_others_with_it(
    make: object, size_wh: tuple[int, int], tmp_path: Path, command: Run, fault: Fault
) -> None:
    """It is refused before it is decoded; in the command line the rest of the folder is done."""
    photos = tmp_path / "photos"
    photos.mkdir()
    suffix = ".png" if make is png_of else ".jpg"
    (photos / f"b{suffix}").write_bytes(make(*size_wh))  # type: ignore[operator]
    for name in ("a.png", "c.png"):
        save_photo(photos / name, picture(64, 48, 0))
    with pytest.raises(SourceError, match="is too large"):
        read_photo(photos / f"b{suffix}")
    done = command("--video", photos, "--output", tmp_path / "out")
    assert done.code == 3, done.err
    assert "is too large" in done.err
    fault.keeps(left_in(tmp_path / "out") == ["a_pose.png", "c_pose.png"], "the others are missing")


def test_crops_of_the_largest_photos_do_not_end_the_process(fault: Fault) -> None:
    """In a process of its own: OpenCV would crash, not raise."""
    program = (
        "import numpy as np; from engine.geometry import boxes_to_affines, warp_crops;"
        "from engine.detection.letterbox import Letterbox\n"
        "for h, w in ((32767, 64), (64, 32767), (32767, 800)):\n"
        "    image = np.zeros((h, w, 3), np.uint8); box = np.array([[0, 0, w, h], [5, 5, 50, 60]], np.float32)\n"
        "    print(warp_crops(image, boxes_to_affines(box, (192, 256)), (192, 256)).shape)\n"
        "    print(Letterbox((640, 640), fixed=False).apply(image).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fault.more(6)


def test_no_photo_at_all(fault: Fault) -> None:
    contents = [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0\x08\0\0\0",
        b"\0\0\0\x20ftypavif",
    ]
    for content, size in itertools.product(contents, (0, 1, 40, 4000)):
        data = np.frombuffer(content + bytes(size), np.uint8)
        if len(data):
            assert decode_photo(data) is None
        picture_count(content + bytes(size))
    fault.more(len(contents) * 4)
