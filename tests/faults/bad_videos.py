"""The corpus of bad videos, made with PyAV and byte surgery; `python -m tests.faults.bad_videos FOLDER` writes it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.engine.clips import NTSC, ClipSpec, make_clip, picture

SMALL = ClipSpec(frames=12, size_wh=(96, 64), audio="aac")


@dataclass(frozen=True, kw_only=True)
class BadVideo:
    """One file of the corpus.

    Attributes:
        name: of the file.
        make: writes it.
        refused: pattern of the error line if it cannot be used; None where it can.
        note: pattern in the output of the run.
        size_wh: of the video that comes out, where that is in question.
    """

    name: str
    make: Callable[[Path], Any]
    refused: str | None = None
    note: str | None = None
    size_wh: tuple[int, int] | None = None


def clip(**values: Any) -> Callable[[Path], Any]:
    """A maker of a clip."""
    return lambda path: make_clip(path, ClipSpec(**{**vars(SMALL), **values}))


def sized(width: int, height: int) -> Callable[[Path], Any]:
    """A maker of a clip in a size that H.264 does not support in its usual form."""
    return clip(size_wh=(width, height), codec="ffv1", pix_fmt="bgr0", audio=None, frames=3)


def from_bytes(suffix: str, change: Callable[[bytes], bytes], **values: Any) -> Callable[[Path], Any]:
    """A maker of a clip whose bytes are changed."""

    def make(path: Path) -> None:
        whole = clip(**values)(path.with_name(f"whole{suffix}"))
        path.write_bytes(change(whole.read_bytes()))
        whole.unlink()

    return make


def cut_at(suffix: str, seed: int, **values: Any) -> Callable[[Path], Any]:
    """A maker of a truncated clip."""
    return from_bytes(suffix, lambda data: data[: random.Random(seed).randrange(1, len(data))], **values)


def damaged(suffix: str, how: str, **values: Any) -> Callable[[Path], Any]:
    """A maker of a clip with four damaged packets: zeros, ones at their start, or flipped bits."""

    def make(path: Path) -> None:
        whole = clip(frames=30, audio=None, **values)(path.with_name(f"whole{suffix}"))
        data = bytearray(whole.read_bytes())
        with av.open(str(whole)) as container:
            places = [(int(p.pos or 0), p.size) for p in container.demux(video=0) if p.size]
        whole.unlink()
        for number in (5, 12, 13, 28):
            at, size = places[number]
            if how == "zeros":
                data[at + 4 : at + size] = bytes(max(0, size - 4))
            elif how == "ones":
                data[at : at + min(12, size)] = b"\xff" * min(12, size)
            else:
                for place in range(at + size // 2, min(at + size // 2 + 20, at + size)):
                    data[place] ^= 0x5A
        path.write_bytes(data)

    return make


def two_sizes(path: Path) -> None:
    """Raw H.264 whose picture changes size and aspect ratio after six frames."""
    parts = []
    for size_wh in ((96, 64), (128, 128)):
        part = path.with_name(f"part{size_wh[0]}.h264")
        parts.append(clip(frames=6, size_wh=size_wh, audio=None)(part).read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def audio_only(path: Path) -> None:
    """An hour of black."""
    with av.open(str(path), "w", format="mp4") as output:
        sound: Any = output.add_stream("aac", rate=48_000)
        sound.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))


def transparent(path: Path) -> None:
    """Pictures whose left half is transparent; its red must not be shown."""
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("qtrle", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "argb"
        for number in range(4):
            image = np.full((64, 96, 4), 255, np.uint8)
            image[:, :, :3] = (200, 0, 0)
            image[:, :48, 3] = 0
            frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format="argb")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def far_time_stamp(path: Path) -> None:
    """The time stamps of the last frames are wrong by a century."""
    stamps = [*range(0, 400, 40), 3_200_000_000_000, 3_200_000_000_040]
    clip(time_base=Fraction(1, 1000), pts=stamps, audio=None)(path)


def mp4_head(data: bytes) -> bytes:
    """The boxes before the pictures of an MP4 whose index comes first."""
    return data[: data.index(b"mdat") - 4]


def no_rate(data: bytes) -> bytes:
    """An AVI that claims no frames per second, in both of its headers."""
    changed = bytearray(data)
    changed[32:36] = bytes(4)  # microseconds a frame
    at = data.index(b"strh") + 8 + 20  # scale and rate of the first stream
    changed[at + 4 : at + 8] = bytes(4)
    return bytes(changed)


def playlist(path: Path) -> None:
    """A playlist with the suffix of a video: nothing may be fetched for it."""
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/never.ts\n#EXT-X-ENDLIST\n")


def png(path: Path) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".png", picture(96, 64))[1].tobytes())


FASTSTART = {"movflags": "faststart"}
LONG = "x" * 250

CORPUS = (
    *(BadVideo(name=f"cut {n}.mp4", make=cut_at(".mp4", n, options=FASTSTART)) for n in range(10)),
    *(BadVideo(name=f"cut {n}.mkv", make=cut_at(".mkv", n)) for n in range(10)),
    *(BadVideo(name=f"cut {n}.ts", make=cut_at(".ts", n)) for n in range(4)),
    *(BadVideo(name=f"cut {n}.avi", make=cut_at(".avi", n, codec="mpeg4", audio="mp2")) for n in range(4)),
    *(BadVideo(name=f"cut {n}.flv", make=cut_at(".flv", n, codec="flv", audio="libmp3lame")) for n in range(4)),
    BadVideo(name="index at its lost end.mp4", make=from_bytes(".mp4", lambda d: d[: len(d) - 500]), refused="cut off"),
    BadVideo(name="nothing.mp4", make=lambda path: path.touch(), refused="empty"),
    BadVideo(name="noise.mkv", make=lambda path: path.write_bytes(random.Random(1).randbytes(5000)), refused="other"),
    BadVideo(name="notes.mp4", make=lambda path: path.write_text("not a video\n" * 50), refused="other data"),
    BadVideo(name="notes.txt", make=lambda path: path.write_text("not a video\n" * 50), refused="text"),
    BadVideo(name="list.mp4", make=playlist, refused="may only name files in its own folder"),
    BadVideo(name="an mkv.mp4", make=from_bytes(".mkv", bytes)),
    BadVideo(name="a video.jpg", make=from_bytes(".mp4", bytes), refused="not a photo"),
    BadVideo(name="a photo.mp4", make=png),
    BadVideo(
        name="header only.mp4", make=from_bytes(".mp4", mp4_head, options=FASTSTART), refused="no frame .* damaged"
    ),
    BadVideo(name="header only.mkv", make=from_bytes(".mkv", lambda d: d[:600]), refused="no frame|cannot be read"),
    *(
        BadVideo(name=f"{how}{suffix}", make=damaged(suffix, how, **values), note="frame")
        for how in ("zeros", "ones", "turned")
        for suffix, values in (
            (".mp4", {"codec": "libx264"}),
            (".mkv", {"codec": "libx264"}),
            (".avi", {"codec": "mpeg4"}),
        )
    ),
    BadVideo(name="zeros.webm", make=damaged(".webm", "zeros", codec="libvpx-vp9"), note="4 frame"),
    BadVideo(name="uneven.mp4", make=clip(time_base=Fraction(1, 1000), pts=[0, 33, 70, 100, 390, 391, 1500])),
    *(
        BadVideo(name=f"turned {angle}.mp4", make=clip(rotation=angle), size_wh=(96, 64) if angle == 180 else (64, 96))
        for angle in (90, 180, 270)
    ),
    BadVideo(name="1x1.mkv", make=sized(1, 1), size_wh=(2, 2)),
    BadVideo(name="17x31.mkv", make=sized(17, 31), size_wh=(18, 32)),
    BadVideo(name="8192x64.mkv", make=sized(8192, 64), size_wh=(8192, 64)),
    BadVideo(name="20000x16.mkv", make=sized(20_000, 16), refused="at most 16384"),
    BadVideo(name="0 fps.avi", make=from_bytes(".avi", no_rate, codec="mpeg4", audio=None)),
    BadVideo(name="1000 fps.mp4", make=clip(rate=Fraction(1000))),
    BadVideo(name="a million fps.mkv", make=clip(rate=Fraction(1_000_000), time_base=Fraction(1, 1000), pts=range(12))),
    BadVideo(name="no time stamps.h264", make=clip(audio=None)),
    BadVideo(name="a century.mkv", make=far_time_stamp),
    BadVideo(name="two sizes.h264", make=two_sizes, note="changes from 96x64 to 128x128", size_wh=(96, 64)),
    BadVideo(name="audio only.mp4", make=audio_only, refused="no video: .* audio only"),
    BadVideo(name="audio longer.mp4", make=clip(audio_s=3.0)),
    BadVideo(name="alpha.mov", make=transparent),
    BadVideo(name="10 bit.mkv", make=clip(pix_fmt="yuv420p10le")),
    BadVideo(name="moving.gif", make=clip(codec="gif", pix_fmt="rgb8", audio=None, rate=Fraction(10))),
    BadVideo(name="ntsc.webm", make=clip(codec="libvpx-vp9", audio="libopus", rate=NTSC)),
    BadVideo(name='it\'s a "clip" of 人们 $HOME; & % #.mp4', make=clip()),
    BadVideo(name="-leading dash.mp4", make=clip()),
    BadVideo(name="file:colon.mp4", make=clip()),
    BadVideo(name=f"{LONG}.mkv", make=clip()),
)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for bad in CORPUS:
        bad.make(folder / bad.name)
        print(folder / bad.name)


if __name__ == "__main__":
    main()
