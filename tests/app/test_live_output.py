"""The switch of the window that sends poses to other programs."""

from __future__ import annotations

import json
import threading
from typing import Any

from pytestqt.qtbot import QtBot
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from app.main_window import MainWindow
from app.output import live_output
from engine.output.live.targets import LiveTarget
from engine.output.live.websocket import WebSocketServer


def read(address: str, into: list[dict[str, Any]], ended: threading.Event) -> None:
    try:
        with connect(address) as reader:
            for text in reader:
                into.append(json.loads(text))
    except ConnectionClosed:
        pass
    ended.set()


def test_the_switch_sends_what_is_shown_and_ends_it(window: MainWindow, qtbot: QtBot) -> None:
    live = window.pose_panel.live
    assert not live.address.isVisibleTo(window.pose_panel)
    live.switch.click()
    assert live.address.isVisibleTo(window.pose_panel)
    got: list[dict[str, Any]] = []
    ended = threading.Event()
    threading.Thread(target=read, args=(live.address.text(), got, ended), daemon=True).start()
    qtbot.waitUntil(lambda: len(got) > 4)
    about, *frames = got
    assert len(about["keypoint_names"]) == 17
    assert all(len(frame["people"]) == 2 for frame in frames)
    assert frames[-1]["frame"] > frames[0]["frame"]
    live.switch.click()
    qtbot.waitUntil(ended.is_set)
    assert not live.address.isVisibleTo(window.pose_panel)
    assert not live.switch.isChecked()


def test_a_port_that_is_taken_is_replaced_by_another(window: MainWindow, qtbot: QtBot) -> None:
    taken = WebSocketServer(LiveTarget(scheme="ws", host="127.0.0.1", port=0))
    port = int(taken.address.rpartition(":")[2])
    try:
        output = live_output.LiveOutput(port)
        assert output.server.address != taken.address
        output.close().join(5)
    finally:
        taken.close()


def test_closing_the_window_ends_the_live_poses(window: MainWindow, qtbot: QtBot) -> None:
    window.pose_panel.live.switch.click()
    ended = threading.Event()
    got: list[dict[str, Any]] = []
    threading.Thread(target=read, args=(window.pose_panel.live.address.text(), got, ended), daemon=True).start()
    qtbot.waitUntil(lambda: len(got) > 1)
    window.close()
    assert ended.wait(5)


def test_the_address_that_appears_is_in_sight(window: MainWindow, qtbot: QtBot) -> None:
    window.resize(960, 600)
    window.show_tab(1)
    live = window.pose_panel.live
    live.switch.click()
    qtbot.waitUntil(lambda: live.address.visibleRegion().boundingRect().height() == live.address.height())
    live.switch.click()
