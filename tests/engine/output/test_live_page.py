"""The page that draws poses, in a real browser: driven over its debugging socket."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from engine.output.live.live_poses import LivePoses
from engine.output.live.targets import LiveTarget
from engine.skeleton import COCO17
from engine.types import Detections, Frame, FrameResult
from tests.engine.clips import one_person, picture

CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (Debian: apt-get install chromium)"),
]


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        (page,) = [one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]

    def _call(self, method: str, **values: Any) -> dict[str, Any]:
        number = next(self._numbers)
        session = getattr(self, "_session", None)
        message = {"id": number, "method": method, "params": values} | ({"sessionId": session} if session else {})
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def value(self, script: str) -> Any:
        done = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return done["result"].get("value")

    def picture(self) -> bytes:
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    assert CHROMIUM is not None
    words = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", "--window-size=800,600", "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = next((match for line in process.stderr if (match := re.search(r"ws://\S+", line))), None)
            assert found is not None, "the browser did not start"
            with connect(found.group(), max_size=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def offer(live: LivePoses, index: int) -> None:
    image = picture(160, 120)
    result = FrameResult(
        frame=Frame(image_bgr=image, index=index, timestamp_s=index / 25),
        detections=Detections.empty(),
        poses=one_person(image),
    )
    live.offer(result, source="camera 0", skeleton=COCO17, time_s=index / 25)


def test_the_page_draws_what_comes_and_another_page_gets_nothing(browser: Browser) -> None:
    with LivePoses([LiveTarget(scheme="ws", host="127.0.0.1", port=0)]) as live:
        (server,) = live.servers
        browser.open(server.page)
        shown, until_s = None, time.monotonic() + 20
        for index in itertools.count():
            offer(live, index)
            shown = browser.value("document.body.dataset.frame")
            if (shown is not None and int(shown) > 3) or time.monotonic() > until_s:
                break
            time.sleep(0.05)
        assert int(shown or -1) > 3
        assert browser.value("document.getElementById('source').textContent") == "camera 0"
        assert browser.value("document.body.dataset.people") == "1"
        drawn = browser.value(
            "Array.from(document.getElementById('picture').getContext('2d')"
            ".getImageData(0, 0, 800, 500).data).filter((v, i) => i % 4 === 2 && v > 200).length"
        )
        assert drawn > 100, "the lines of the skeleton"
        # A page from anywhere else, here one without an origin.
        browser.open("about:blank")
        answer = browser.value(
            f"new Promise(done => {{ const s = new WebSocket('{server.address}');"
            " s.onmessage = () => done('read'); s.onclose = () => done('refused'); })"
        )
        assert answer == "refused"
