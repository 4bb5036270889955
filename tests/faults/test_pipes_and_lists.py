"""Sources that cannot be sought in, or do not answer, and lists that name other files: an end, and in time."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from engine.artifacts.part_file import PartFile, check_writable
from engine.errors import OutputError, SourceError
from engine.sources.inputs import source_files
from engine.sources.opening import open_source
from engine.sources.pipe import Pipe
from engine.sources.streams import open_url
from tests.engine.clips import ClipSpec, make_clip, picture, save_photo
from tests.faults.ledger import ROOT, Fault
from tests.faults.light import Run, command

__all__ = ["command"]

pytestmark = [
    pytest.mark.fault("pipes and lists"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders"),
]

FRAMES = 120


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clip with sound in the containers that can be read from a pipe."""
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "a.mp4", ClipSpec(frames=FRAMES, size_wh=(64, 48), audio="aac"))
    make_clip(folder / "long.ts", ClipSpec(frames=400, size_wh=(64, 48)))  # FFmpeg looks at 5 s before it begins
    for suffix, options in ((".mkv", {}), (".ts", {}), (".fast.mp4", {"movflags": "faststart"}), (".flv", {})):
        with av.open(str(folder / "a.mp4")) as source, av.open(str(folder / f"a{suffix}"), "w", options=options) as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
    return folder


def written_frames(poses: Path) -> int:
    return len(poses.read_text().splitlines())


READABLE = ("a.mkv", "a.ts", "a.fast.mp4", "a.flv")


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("way", ["-", "/dev/stdin", "named pipe", "stdin from a file"])
def test_every_frame_of_a_pipe_is_written(name: str, way: str, clips: Path, tmp_path: Path, fault: Fault) -> None:
    """The sound must not take the bytes of the picture."""
    pipe = tmp_path / "pipe"
    source = {"named pipe": str(pipe), "stdin from a file": "-"}.get(way, way)
    words = ["--video", source, "--output", str(tmp_path / "o.mp4"), "--poses", str(tmp_path / "o.jsonl")]
    command = [sys.executable, "-m", "tests.faults.light", *words]
    feeder: subprocess.Popen[bytes] | None = None
    if way == "named pipe":
        os.mkfifo(pipe)
        feeder = subprocess.Popen(["sh", "-c", f"cat '{clips / name}' > '{pipe}'"])
        stdin: object = subprocess.DEVNULL
    elif way == "stdin from a file":
        stdin = (clips / name).open("rb")
    else:
        feeder = subprocess.Popen(["cat", str(clips / name)], stdout=subprocess.PIPE)
        stdin = feeder.stdout
    done = subprocess.run(
        command, cwd=ROOT, stdin=stdin, capture_output=True, text=True, timeout=100, check=False  # type: ignore[call-overload]
    )  # fmt: skip
    if feeder is not None:
        feeder.kill()
        feeder.wait()
    fault.quiet(done.stderr)
    assert done.returncode == 0, done.stderr
    fault.keeps(written_frames(tmp_path / "o.jsonl") == FRAMES, f"{written_frames(tmp_path / 'o.jsonl')} frames")
    assert "audio: left out" in done.stderr


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of half a second."""
    made = Pipe.__init__

    def short(self: Pipe, path: Path | None, shown: str, timeout_s: float = 0.5) -> None:
        made(self, path, shown, timeout_s)

    monkeypatch.setattr(Pipe, "__init__", short)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("sent", [b"", b"\x00", b"\x1a\x45\xdf\xa3", b"GIF89a", "half"], ids=str)
@pytest.mark.parametrize("name", ["pipe", "pipe.mp4", "pipe.jpg", "pipe.m3u8"])
@pytest.mark.parametrize("stays", [True, False])
def test_a_pipe_that_goes_quiet(
    *, sent: bytes | str, name: str, stays: bool, clips: Path, tmp_path: Path, fault: Fault
) -> None:
    """Without a writer, or with one that sends too little and stays or goes."""
    pipe = tmp_path / name
    os.mkfifo(pipe)
    content = (clips / "a.mkv").read_bytes()[:3000] if isinstance(sent, str) else sent
    handle = os.open(pipe, os.O_RDWR)
    os.write(handle, content)
    if not stays and content:
        threading.Timer(0.2, os.close, (handle,)).start()
    started = time.monotonic()
    with pytest.raises(SourceError), open_source(str(pipe)) as source:
        for _ in source:
            pass
        raise SourceError("what came was read")
    assert time.monotonic() - started < 20
    if stays or not content:
        os.close(handle)


def test_mp4_that_ends_with_its_index_is_explained(clips: Path, tmp_path: Path, fault: Fault) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes((clips / "a.mp4").read_bytes()), daemon=True)
    feeder.start()
    try:
        with open_source(str(pipe)) as source:
            assert sum(1 for _ in source) == FRAMES  # where the muxer put the index first
    except SourceError as error:
        assert "faststart" in str(error)
    feeder.join(5)


def wait_for_reader(process: subprocess.Popen[str], pipe: Path) -> None:
    """Wait until a process has opened a pipe, and for a moment more."""
    folder = Path(f"/proc/{process.pid}/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list the files of a process")
    while str(pipe) not in [os.path.realpath(link) for link in folder.iterdir()]:
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("phase", ["no writer", "half a header", "in the middle"])
def test_one_signal_ends_a_run_on_a_pipe(name: str, phase: str, clips: Path, tmp_path: Path, fault: Fault) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = (clips / "long.ts").read_bytes()
    sent = {"no writer": b"", "half a header": content[:20], "in the middle": content[: len(content) * 2 // 3]}[phase]
    process = fault.start(
        "-m", "tests.faults.light", "--video", pipe, "--output", tmp_path / "o.mp4", "--poses", tmp_path / "o.jsonl",
        env={"FAULTS_PRINT_AT": "20"},
    )  # fmt: skip
    handle = os.open(pipe, os.O_RDWR)
    feeder = threading.Thread(target=os.write, args=(handle, sent), daemon=True)
    feeder.start()
    if phase == "in the middle":
        assert process.stdout is not None
        while "at frame" not in process.stdout.readline():
            assert process.poll() is None
    else:
        wait_for_reader(process, pipe)
    process.send_signal(getattr(signal, name))
    started = time.monotonic()
    done = fault.end(process, 30)
    assert time.monotonic() - started < 15
    assert done.code in (130, 143, -signal.SIGTERM, 2), done
    if phase == "in the middle":
        assert done.code != 2 and (tmp_path / "o.jsonl").exists(), (done, sorted(tmp_path.iterdir()))
        fault.keeps(written_frames(tmp_path / "o.jsonl") >= 10, "frames are missing")
    os.close(handle)


# Pipes where files are expected


def test_pipes_among_photos_and_part_files(tmp_path: Path, command: Run, fault: Fault) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    save_photo(photos / "a.png", picture(64, 48, 0))
    for name in ("b.png", "c.jpg", "d.webp"):
        os.mkfifo(photos / name)
    done = command("--video", photos, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    for make in (lambda: PartFile(tmp_path / "o.mp4"), lambda: check_writable(tmp_path / "o.mp4")):
        part = tmp_path / "o.part.mp4"
        if not part.exists():
            os.mkfifo(part)
        with pytest.raises(OutputError, match="a pipe"):
            make()
        fault.keeps(part.exists(), "it was removed")
    fault.more(5)


@pytest.mark.parametrize("name", ["train.json", "val.json", "train/0.png", "val/0.png"])
def test_pipes_in_a_data_set(name: str, tmp_path: Path, fault: Fault) -> None:
    from tests.train.people_folder import write_people
    from train.data.dataset import ImageStore
    from train.data.reading import read_people

    data = write_people(tmp_path / "data", pictures=2)
    (data / name).unlink()
    os.mkfifo(data / name)
    refused = 0
    for split in ("train", "val"):
        try:
            people = read_people(data, split)
        except SourceError:
            refused += 1
            continue
        images = ImageStore(people, keep=False)
        refused += sum(images.readable(index) is None for index in range(len(people.image_files)))
    assert refused == 1, "the pipe alone"


# Lists


OUTSIDE = ("../secret.ts", "/etc/hostname", "http://127.0.0.1:9/a.ts", "file:///etc/hostname", "https://x/a.ts",
           "rtsp://127.0.0.1/a", "concat:a.ts|b.ts", "subfile,,start,0,end,0,,:a.ts", "data:video/mp4,aa",
           "link.ts", "pipe.ts", "crypto:a.ts", "async:a.ts", "udp://127.0.0.1:9")  # fmt: skip

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n{}#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
LISTS: dict[str, Callable[[str], str]] = {
    "hls": lambda name: HLS.format("", name),
    "hls map": lambda name: HLS.format(f'#EXT-X-MAP:URI="{name}"\n', "a.ts"),
    "hls key": lambda name: HLS.format(f'#EXT-X-KEY:METHOD=AES-128,URI="{name}"\n', "a.ts"),
    "hls master": lambda name: f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{name}\n",
    "concat": lambda name: f"ffconcat version 1.0\nfile '{name}'\n",
}  # fmt: skip


@pytest.fixture
def place(clips: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "inner"
    folder.mkdir()
    shutil.copy(clips / "a.ts", folder / "a.ts")
    shutil.copy(clips / "a.ts", tmp_path / "secret.ts")
    (folder / "link.ts").symlink_to(tmp_path / "secret.ts")
    os.mkfifo(folder / "pipe.ts")
    return folder


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("name", OUTSIDE)
def test_lists_name_nothing_outside_their_folder(kind: str, name: str, place: Path, fault: Fault) -> None:
    for suffix in (".m3u8", ".ffconcat", ".mp4", ".txt"):
        file = place / f"list{suffix}"
        file.write_text(LISTS[kind](name))
        with pytest.raises(SourceError), open_source(str(file)) as source:
            for _ in source:
                pass
    fault.more(4)


def test_lists_of_files_beside_them_are_read(place: Path, fault: Fault) -> None:
    for suffix, kind in ((".m3u8", "hls"), (".ffconcat", "concat")):
        file = place / f"list{suffix}"
        file.write_text(LISTS[kind]("a.ts"))
        with open_source(str(file)) as source:
            assert sum(1 for _ in source) == FRAMES
        assert {path.name for path in source_files(file)} == {file.name, "a.ts"}
    (place / "master.m3u8").write_text(LISTS["hls master"]("list.m3u8"))
    assert {path.name for path in source_files(place / "master.m3u8")} == {"master.m3u8", "list.m3u8", "a.ts"}
    fault.more(3)


def test_lists_that_never_end_or_name_themselves(place: Path, fault: Fault) -> None:
    endless = place / "endless.m3u8"
    endless.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na.ts\n")
    with pytest.raises(SourceError, match="no end mark"):
        open_source(str(endless))
    for name, text in (
        ("self.m3u8", LISTS["hls master"]("self.m3u8")), ("self.ffconcat", LISTS["concat"]("self.ffconcat")),
        ("both.m3u8", LISTS["hls master"]("endless.m3u8")), ("a.mpd", '<?xml version="1.0"?><MPD></MPD>'),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"), ("empty.m3u8", "#EXTM3U\n"),
    ):  # fmt: skip
        (place / name).write_text(text)
        with pytest.raises(SourceError):
            open_source(str(place / name))
    fault.more(7)


# Servers that do not answer

STALLS: dict[str, bytes] = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 20",
    "headers": b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 100000\r\n\r\n",
    "a little": b"HTTP/1.1 200 OK\r\nContent-Type: video/x-matroska\r\nContent-Length: 100000\r\n\r\n\x1a\x45\xdf\xa3",
    "half a clip": b"half",
}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.parametrize("stall", STALLS)
def test_a_server_that_stalls(stall: str, server: socket.socket, clips: Path, fault: Fault) -> None:
    """It says for how long it waited."""
    held: list[socket.socket] = []
    sent = STALLS[stall]
    if stall == "half a clip":
        content = (clips / "a.ts").read_bytes()
        sent = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:1500]

    def serve() -> None:
        try:
            while True:
                connection, _ = server.accept()
                held.append(connection)
                connection.recv(4096)
                connection.sendall(sent)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        open_url(url, open_timeout_s=1.0, read_timeout_s=1.0)
    assert time.monotonic() - started < 15
    assert "no answer in" in str(caught.value) or "gave nothing" in str(caught.value), str(caught.value)
    assert "holds no video" not in str(caught.value)
    for connection in held:
        connection.close()
