"""Poses for other programs: real readers of UDP, OSC, WebSocket and a pipe, on this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import main
from engine.errors import OptionError, OutputError
from engine.output.export import ExportSummary, export
from engine.output.files import ExportOptions
from engine.output.live.channel import ROOM, About, Message
from engine.output.live.datagrams import Datagrams, json_line
from engine.output.live.live_poses import Channel, LivePoses
from engine.output.live.standard_output import StandardOutput
from engine.output.live.targets import STDOUT, LiveTarget, split_poses
from engine.output.live.websocket import WebSocketServer
from engine.skeleton import COCO17
from engine.sources.opening import open_source
from engine.types import Frame
from tests.engine.clips import ClipSpec, ConstantPipeline, make_clip, picture

ROOT = Path(__file__).resolve().parents[3]
FRAMES = 12


def run_live(
    tmp_path: Path, *addresses: str, before: Callable[[LivePoses], None] = lambda _live: None
) -> ExportSummary:
    """Twelve frames to a file and to the addresses, whose counts are the notes; `before` runs when all are open."""
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=FRAMES))
    _files, targets = split_poses(addresses)
    with LivePoses(targets) as live, open_source(str(clip)) as source:
        before(live)
        options = ExportOptions(pictures=False, poses=[tmp_path / "o.jsonl"], quiet=True)
        summary = export(source, ConstantPipeline(empty=[3]), options, live=live)
        live.close()
        return replace(summary, notes=live.summaries())


def lines_of(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]


def test_a_udp_reader_gets_the_lines_of_the_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader:
        reader.bind(("127.0.0.1", 0))
        reader.settimeout(5)
        summary = run_live(tmp_path, f"udp://127.0.0.1:{reader.getsockname()[1]}")
        got = [json.loads(reader.recv(65_536)) for _ in range(FRAMES)]
    assert got == lines_of(tmp_path)
    assert [line["frame"] for line in got] == list(range(FRAMES))
    assert "12 frames sent, 0 dropped" in summary.notes[-1]


def test_an_osc_reader_gets_a_bundle_a_frame(tmp_path: Path) -> None:
    got: list[tuple[str, tuple[Any, ...]]] = []
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda address, *values: got.append((address, values)))
    packets = 0

    class Server(BlockingOSCUDPServer):
        def process_request(self, request: Any, client_address: Any) -> None:
            nonlocal packets
            packets += 1
            super().process_request(request, client_address)

    with Server(("127.0.0.1", 0), dispatcher) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        run_live(tmp_path, f"osc://127.0.0.1:{server.server_address[1]}")
        until_s = time.monotonic() + 5
        while packets < FRAMES and time.monotonic() < until_s:
            time.sleep(0.02)
        server.shutdown()
        thread.join()
    assert packets == FRAMES
    frames = [values for address, values in got if address == "/pose/frame"]
    assert [values[0] for values in frames] == list(range(FRAMES))
    assert [values[2] for values in frames] == [1, 1, 1, 0, *[1] * 8], "people; frame 3 has none"
    assert {values[3:] for values in frames} == {(160, 120)}
    assert frames[5][1] == pytest.approx(0.2)
    person = lines_of(tmp_path)[0]["people"][0]
    first = dict(got[: got.index(("/pose/frame", frames[1]))])
    assert first["/pose/person/0/id"] == (-1,)
    assert first["/pose/person/0/score"] == pytest.approx((person["score"],))
    assert first["/pose/person/0/box_xyxy"] == pytest.approx(tuple(person["box_xyxy"]))
    wrist = person["keypoints"][COCO17.keypoint_index("left_wrist")]
    assert first["/pose/person/0/keypoints/left_wrist"] == pytest.approx(tuple(wrist))
    assert sum("/keypoints/" in address for address in first) == 17


def test_many_websocket_readers_get_what_is_needed_to_draw_and_every_frame(tmp_path: Path) -> None:
    got: list[list[dict[str, Any]]] = [[], []]
    threads: list[threading.Thread] = []

    def read(address: str, into: list[dict[str, Any]], ready: threading.Event) -> None:
        with connect(address) as reader:
            ready.set()
            into.extend(json.loads(text) for text in reader)

    def begin(live: LivePoses) -> None:
        for into in got:
            ready = threading.Event()
            threads.append(threading.Thread(target=read, args=(live.servers[0].address, into, ready)))
            threads[-1].start()
            assert ready.wait(5)
        until_s = time.monotonic() + 5
        while len(live.servers[0]._readers) < 2 and time.monotonic() < until_s:
            time.sleep(0.01)

    summary = run_live(tmp_path, "ws://127.0.0.1:0", before=begin)
    for thread in threads:
        thread.join(5)
    for messages in got:
        about, *frames = messages
        assert about["size_wh"] == [160, 120]
        assert about["source"] == "clip.mp4"
        assert about["keypoint_names"] == list(COCO17.keypoint_names)
        assert about["edges"] == [list(edge) for edge in COCO17.edges]
        assert frames == lines_of(tmp_path)
    assert "2 readers, 24 frames sent, 0 dropped" in summary.notes[-1]


# Readers that stall

ABOUT = About(source="s", size_wh=(640, 480), skeleton=COCO17)
KILOBYTES = 40
OFFERED = 1500


def message(number: int) -> Message:
    return Message(
        about=ABOUT, record={"frame": number, "time_s": 0.0, "people": [], "padding": "x" * KILOBYTES * 1000}
    )


@contextlib.contextmanager
def stalled_pipe() -> Iterator[tuple[Channel, Callable[[], list[dict[str, Any]]]]]:
    read_end, write_end = os.pipe()
    channel = StandardOutput(write_end)
    os.close(write_end)

    def read_all() -> list[dict[str, Any]]:
        # The writer still writes while this reads.
        closing = threading.Thread(target=channel.close)
        closing.start()
        found = b""
        while True:
            ended = not closing.is_alive()
            if select.select([read_end], [], [], 0.05)[0]:
                found += os.read(read_end, 1 << 20)
            elif ended:
                return [json.loads(line) for line in found.splitlines()]

    try:
        yield channel, read_all
    finally:
        channel.close()
        os.close(read_end)


@contextlib.contextmanager
def stalled_websocket() -> Iterator[tuple[Channel, Callable[[], list[dict[str, Any]]]]]:
    channel = WebSocketServer(LiveTarget(scheme="ws", host="127.0.0.1", port=0))
    with connect(channel.address, max_queue=1, compression=None, ping_interval=None) as reader:
        until_s = time.monotonic() + 5
        while not channel._readers and time.monotonic() < until_s:
            time.sleep(0.01)

        def read_all() -> list[dict[str, Any]]:
            closing = threading.Thread(target=channel.close)
            closing.start()
            found = [json.loads(text) for text in reader]
            closing.join()
            return found[1:]

        yield channel, read_all
    channel.close()


@pytest.mark.parametrize("stalled", [stalled_pipe, stalled_websocket])
def test_a_stalled_reader_costs_frames_and_no_memory(stalled: Any) -> None:
    """60 MB for a reader that reads nothing: all are taken at once, the newest are kept, and the rest is counted."""
    with stalled() as (channel, read_all):
        tracemalloc.start()
        try:
            for number in range(OFFERED):
                channel.offer(message(number))
                if number % 50 == 0:
                    time.sleep(0.005)  # the channel's threads run between frames
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5 * ROOM * KILOBYTES * 1000, f"{peak / 1e6:.0f} MB of 60 MB stayed"
        got = [line["frame"] for line in read_all()]
    counts = channel.counts
    assert counts.sent == len(got)
    assert counts.sent + counts.dropped == OFFERED
    assert counts.dropped > OFFERED / 3
    assert got == sorted(got)
    assert got[-1] == OFFERED - 1, "the newest frame arrives"


def test_an_end_does_not_wait_for_a_stalled_reader() -> None:
    """A reader that never comes back: the channel ends, and what waited is counted as dropped."""
    with stalled_pipe() as (channel, _read_all):
        for number in range(100):
            channel.offer(message(number))
        channel.close()
        counts = channel.counts
        assert counts.sent + counts.dropped == 100
        assert counts.dropped >= ROOM


def test_frames_that_no_datagram_holds_are_counted_and_named() -> None:
    told: list[str] = []
    channel = Datagrams(LiveTarget(scheme="udp", host="127.0.0.1", port=9), json_line, told.append)
    for _ in range(3):
        channel.offer(Message(about=ABOUT, record={"people": [], "padding": "x" * 70_000}))
    channel.close()
    assert channel.counts.dropped == 3
    assert len(told) == 1
    assert "--max-people" in told[0]


# Who may read

FOREIGN = "https://pages.example"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def server(told: list[str]) -> Iterator[WebSocketServer]:
    target = LiveTarget(scheme="ws", host="127.0.0.1", port=0)
    opened = WebSocketServer(target, allow_origins=["https://mine.example"], notify=told.append)
    yield opened
    opened.close()


def may_connect(server: WebSocketServer, origin: str | None, host: str | None = None) -> bool:
    port = int(server.address.rpartition(":")[2])
    uri = f"ws://{host}:{port}" if host else server.address
    try:
        with connect(uri, origin=origin, sock=socket.create_connection(("127.0.0.1", port))):  # type: ignore[arg-type]
            return True
    except InvalidStatus as error:
        assert error.response.status_code == 403
        return False


def test_other_web_pages_may_not_read(server: WebSocketServer, told: list[str]) -> None:
    own = server.address.replace("ws", "http")
    port = own.rpartition(":")[2]
    assert may_connect(server, None), "a program that is no browser"
    assert may_connect(server, own)
    assert may_connect(server, f"http://localhost:{port}", host="localhost")
    assert may_connect(server, "https://mine.example")
    for origin in (FOREIGN, "null", "http://127.0.0.1:1", f"https://127.0.0.1:{port}", "https://mine.example.evil"):
        assert not may_connect(server, origin), origin
    # A name of the attacker that was made to point to this machine: the page's origin equals the host it asks.
    assert not may_connect(server, f"http://evil.example:{port}", host="evil.example")
    assert any(FOREIGN in line and "--allow-origin" in line for line in told)


def test_the_page_is_served_and_nothing_else(server: WebSocketServer) -> None:
    address = server.address.removeprefix("ws://")
    for path, status in (("/", 200), ("/../message.py", 404), ("/secret", 404)):
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == status, path
        if status == 200:
            assert answer.headers["Content-Type"].startswith("text/html")
            assert b"<canvas" in answer.read()
        connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_other_machines_reach_it_only_where_that_is_meant(host: str) -> None:
    target = LiveTarget(scheme="ws", host=host, port=0)
    with pytest.raises(OutputError, match="--allow-remote"):
        WebSocketServer(target)
    try:
        allowed = WebSocketServer(target, allow_remote=True)
    except OutputError as error:
        pytest.skip(str(error))  # no IPv6 here
    allowed.close()


def test_a_port_in_use_is_named(server: WebSocketServer) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(OutputError, match=f"{port}.*choose another port"):
        WebSocketServer(LiveTarget(scheme="ws", host="127.0.0.1", port=port))


# The command line


def test_files_and_addresses_are_told_apart() -> None:
    files, live = split_poses(["a.jsonl", "-", "udp://10.0.0.7:9000", "OSC://[::1]:1", "ws://localhost:0", r"C:\p.csv"])
    assert [str(path) for path in files] == ["a.jsonl", r"C:\p.csv"]
    assert [str(target) for target in live] == [
        "standard output", "udp://10.0.0.7:9000", "osc://[::1]:1", "ws://localhost:0"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["udp://127.0.0.1"], "with a port"),
        (["udp://127.0.0.1:99999"], "with a port"),
        (["udp://:9000"], "expected udp://HOST:PORT"),
        (["osc://127.0.0.1:0"], "from 1 to 65535"),
        (["ws://user:secret@127.0.0.1:80"], "expected"),
        (["wss://127.0.0.1:80"], "Did you mean 'ws'"),
        (["http://127.0.0.1:80"], "cannot be sent to http"),
        (["-", "-"], "twice"),
        (["udp://h:1", "udp://h:1"], "twice"),
    ],
)
def test_a_wrong_address_is_explained(texts: list[str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        split_poses(texts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--poses", "ws://0.0.0.0:0"], "--allow-remote"),
        (["--output", "none"], "add --poses"),
        (["--output", "-"], "--poses -"),
        (["--poses", "udp://no..host:9"], "cannot be found"),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=2))
    assert main.main(["--video", str(clip), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [clip]


def test_an_origin_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.read_options(["--video", "demo", "--poses", "ws://127.0.0.1:1", "--allow-origin", "*"])
    assert "is not the origin of a page" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.read_options(["--video", "demo", "--allow-remote"])
    assert "ws://HOST:PORT" in capsys.readouterr().err


def command(clip: Path, folder: Path, *arguments: str) -> list[str]:
    fast = ["--detector", "none", "--backend", "onnxruntime", "--threads", "1"]
    return [sys.executable, str(ROOT / "main.py"), "--video", str(clip), *fast, *arguments]


def test_standard_output_holds_poses_and_nothing_else(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    words = command(clip, tmp_path, "--poses", "-", str(tmp_path / "o.csv"))
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == [0, 1, 2, 3]
    assert "poses to standard output: 4 frames sent, 0 dropped" in done.stderr
    assert (tmp_path / "outputs" / "clip_pose.mp4").exists()
    assert (tmp_path / "o.csv").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full_at_the_last_frame_is_an_error() -> None:
    handle = os.open("/dev/full", os.O_WRONLY)
    try:
        with LivePoses([LiveTarget(scheme=STDOUT)], stdout=handle) as live:
            result = ConstantPipeline().process(Frame(image_bgr=picture(64, 48), index=0, timestamp_s=0.0))
            live.offer(result, source="clip", skeleton=COCO17, time_s=0.0)
            live.close()
            assert "0 frames sent, 1 dropped" in live.summaries()[0]
            with pytest.raises(OSError, match="No space left"):
                live.check()
    finally:
        os.close(handle)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_a_reader_that_leaves_ends_the_run_where_nothing_else_is_written(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=400))
    with subprocess.Popen(
        command(clip, tmp_path, "--poses", "-", "--output", "none", "--quiet"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
