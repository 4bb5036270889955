"""A password in an address is never shown, written or stored."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PyQt5.QtCore import QSettings
from PyQt5.QtWidgets import QLabel, QWidget
from pytestqt.qtbot import QtBot

from app.error_report import ErrorReport
from app.live.camera_search import CameraSearch
from app.main_window import MainWindow
from app.settings import Settings
from engine.errors import SourceError
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.addresses import has_secret, is_address, shown, url_name
from engine.sources.opening import open_source
from engine.sources.streams import open_url
from tests.app.fakes import Backstage
from tests.faults.ledger import Fault
from tests.faults.live_server import answers, camera, hangs_up, plays, plays_on, rubbish, stalls

pytestmark = pytest.mark.fault("secrets in addresses")

SECRET = "Sesame17"
USER = f"admin:{SECRET}"


def clean(text: str, where: str = "") -> None:
    assert SECRET not in text, f"{where}: {text}"


# Names of addresses


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (f"rtsp://{USER}@cam.local:554/live/1?token=abc", "rtsp://cam.local:554/live/1"),
        (f"http://{USER}@[::1]:8080/x", "http://[::1]:8080/x"),
        ("HTTP://Host/Path", "http://host/Path"),
        (f"http://cam/live#{SECRET}", "http://cam/live"),
        (f"rtsp:/{USER}@cam/live", "rtsp://cam/live"),
        (f"rtsp://a:x@{SECRET}@cam/live", "rtsp://cam/live"),
        (f"rtsp://a:x/{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://a:12/{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://a:x#{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://a/:{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://a/b@c:{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://a:x?{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://a:x@y/{SECRET}@cam/live", "rtsp://…"),
        (f"rtsp://{SECRET}:[@cam", "rtsp://cam"),
        ("rtsp://cam:port/live", "rtsp://…"),
        ("http://cam/@user/live", "http://cam/@user/live"),
    ],
)
def test_addresses_are_named_without_their_secrets(address: str, name: str) -> None:
    assert url_name(address) == name
    assert shown(f" {address}") == name


PART = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=8)


@given(scheme=st.sampled_from(["rtsp", "http", "https", "srt"]), user=PART, before=PART, after=PART, path=PART)
def test_no_password_is_ever_in_a_name(scheme: str, user: str, before: str, after: str, path: str) -> None:
    """Unescaped passwords with all characters."""
    address = f"{scheme}://{user}:{before}{SECRET}{after}@cam.local/{path}"
    clean(url_name(address), address)
    assert has_secret(address)


def test_files_and_cameras_are_named_as_they_are() -> None:
    for text in ("0", "demo", "a/b@c.mp4", "C:/videos/me@home.mp4", "C:\\me@home.mp4", "/data/a:b@c.mp4"):
        assert shown(text) == text
        assert not is_address(text)
        assert not has_secret(text)


# Errors


BAD = (
    f"rtsp://{USER}@127.0.0.1:9/none",
    f"http://{USER}@127.0.0.1:9/none?key={SECRET}",
    f"http://{USER}@no.such.host.invalid/x",
    f"rtsp:/{USER}@127.0.0.1/x",
    f"rtps://{USER}@127.0.0.1/x",
    f"http:/127.0.0.1:9/x?key={SECRET}",
    f"srt://{USER}@127.0.0.1:9?passphrase={SECRET}",
    f"tcp://{USER}@127.0.0.1:99999",
)


@pytest.mark.parametrize("address", BAD)
def test_errors_and_their_tracebacks_are_clean(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address).close()
    clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("act", [hangs_up, rubbish(), answers("401 Unauthorized"), plays(3), stalls(3)])
def test_errors_of_servers_are_clean(act: object, fault: Fault) -> None:
    with camera("mjpeg", act) as server:  # type: ignore[arg-type]
        with pytest.raises(SourceError) as caught:
            source = open_url(server.url(USER), open_timeout_s=1, read_timeout_s=0.4)
            with source:
                list(source)
        clean("".join(traceback.format_exception(caught.value)))


# The command line


def test_the_command_line_shows_and_writes_no_password(tmp_path: Path, fault: Fault) -> None:
    """A successful run: its output, its poses file, and names and content of its files."""
    with camera("mjpeg", plays(10), hangs_up, plays_on) as server:
        process = fault.start(
            "main.py", "--video", server.url(USER) + f"?key={SECRET}", "--poses", tmp_path / "p.jsonl", "--verbose",
            "--output", tmp_path, "--max-frames", "30", env={"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        ended = fault.end(process)
        assert ended.code == 0, ended.err
        assert all(SECRET in head for head in server.requests), "the camera receives the whole address"
    clean(ended.out + ended.err)
    assert "trying again" in ended.err and "reconnected" in ended.err
    written = sorted(tmp_path.iterdir())
    assert len(written) == 2
    for file in written:
        clean(file.name)
        assert SECRET.encode() not in file.read_bytes()
    with av.open(str(next(file for file in written if file.suffix == ".mp4"))) as container:
        clean(repr(container.metadata))


def test_the_command_line_refuses_without_the_password(tmp_path: Path, fault: Fault) -> None:
    fault.more(3)
    for address in (BAD[0], BAD[3], BAD[4]):
        ended = fault.run("main.py", "--video", address, "--output", tmp_path / "out.mp4")
        clean(fault.refused(ended.code, ended.err) + ended.out)
    assert list(tmp_path.iterdir()) == []


# The window


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    return tmp_path / "settings.ini"


@pytest.fixture
def window(qtbot: QtBot, ini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MainWindow]:
    """A window on real sources."""
    monkeypatch.setattr(CameraSearch, "ask", lambda self: None)
    backstage = Backstage()
    made = MainWindow(
        settings=Settings(QSettings(str(ini), QSettings.Format.IniFormat)),
        options=PipelineOptions(),
        report=lambda error, where: backstage.reported.append((error, where)),
        status_json=tmp_path / "status.json",
        open_source=lambda text: open_url(text, open_timeout_s=1, read_timeout_s=0.4),
        open_pipeline=backstage.open_pipeline,
    )
    made.show()
    yield made
    made.close()
    assert backstage.reported == []


def all_texts(widget: QWidget) -> str:
    """All visible texts of a window."""
    texts = [widget.windowTitle(), widget.toolTip()]
    for child in widget.findChildren(QWidget):
        texts += [child.toolTip(), child.windowTitle(), child.accessibleName()]
        text = getattr(child, "text", None)
        if callable(text):
            texts.append(str(text()))
        if isinstance(child, QLabel):
            texts.append(child.text())
    return "\n".join(texts)


def test_the_window_shows_and_stores_no_password(
    window: MainWindow, ini: Path, tmp_path: Path, qtbot: QtBot, fault: Fault
) -> None:
    """While it opens, plays, loses and reconnects a source, and after a refusal."""
    fault.more(4)
    with camera("mjpeg", plays(30), hangs_up, plays_on) as server:
        window.start(server.url(USER) + f"?key={SECRET}")
        clean(all_texts(window), "opening")
        qtbot.waitUntil(lambda: window.view.picture is not None, timeout=10_000)
        clean(all_texts(window), "playing")
        assert "127.0.0.1" in window.windowTitle()
        qtbot.waitUntil(lambda: "trying again" in window.notices.text, timeout=10_000)
        clean(all_texts(window), "lost")
        qtbot.waitUntil(lambda: window.view.badge == "" and not window.notices.text, timeout=10_000)
        qtbot.waitUntil((tmp_path / "status.json").is_file, timeout=5_000)
        status = (tmp_path / "status.json").read_text()
        assert "127.0.0.1" in json.loads(status)["source"]
        clean(status, "status")
    window.source_control.open(BAD[0])
    clean(all_texts(window), "opening what is not there")
    qtbot.waitUntil(lambda: "cannot open" in window.notices.text, timeout=10_000)
    clean(all_texts(window), "refused")
    window.close()
    clean(ini.read_text() if ini.is_file() else "", "settings")
    assert window.settings.recent == []


def test_recent_sources_of_earlier_versions_with_secrets_are_removed(ini: Path) -> None:
    store = QSettings(str(ini), QSettings.Format.IniFormat)
    store.setValue("sources/recent", [BAD[0], "walk.mp4", f"http://cam/live?token={SECRET}", "rtsp://cam/live"])
    settings = Settings(store)
    assert settings.recent == ["walk.mp4", "rtsp://cam/live"]
    for address in BAD:
        settings.add_recent(address)
    settings.add_recent("demo")
    store.sync()
    clean(ini.read_text())
    assert settings.recent == ["demo", "walk.mp4", "rtsp://cam/live"]


def test_the_log_holds_no_password(tmp_path: Path) -> None:
    """An unexpected exception in the reading thread."""
    from app.live.playback import Playback

    def fail(text: str) -> None:
        raise ZeroDivisionError("division by zero")

    report = ErrorReport(tmp_path / "window.log")
    events: list[object] = []
    playback = Playback(
        f"http://{USER}@cam/live",
        serial=1,
        put=lambda _shot: None,
        emit=events.append,
        open_source=fail,  # type: ignore[arg-type]
    )
    assert playback.join(5)
    report.show_dialog = lambda _summary: None
    for event in events:
        if getattr(event, "error", None) is not None:
            report.report(event.error, event.where)  # type: ignore[attr-defined]
    clean(" ".join(str(getattr(event, "message", "")) for event in events))
    report.remove()
    log = (tmp_path / "window.log").read_text()
    assert "ZeroDivisionError" in log
    clean(log)
    logging.getLogger("app").handlers.clear()
