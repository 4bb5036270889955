"""The bar under the video: playback of files, mirror for cameras, and the buttons for outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from PyQt5.QtCore import QSize, Qt, pyqtSignal
from PyQt5.QtGui import QMouseEvent
from PyQt5.QtWidgets import QComboBox, QLabel, QSlider, QStyle, QToolButton, QWidget

from app.live.playback import SPEEDS
from app.live.shots import SourceOpened
from app.widgets.icons import icon
from app.widgets.parts import in_row
from app.widgets.theme import colors

_TICKS = 10_000
_LITTLE_DISK_BYTES = 2_000_000_000


def clock(seconds: float) -> str:
    """Minutes and seconds with tenths, and hours if there are any."""
    tenths = int(max(0.0, seconds) * 10 + 1e-6)
    whole = tenths // 10
    hours, minutes = whole // 3600, whole // 60 % 60
    tail = f"{whole % 60:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


@dataclass(frozen=True, kw_only=True)
class RecordingState:
    """What the bar shows of a recording: its time, its end if it has one, and free bytes; or when it begins."""

    elapsed_s: float = 0.0
    limit_s: float | None = None
    free_bytes: int = 0
    starts_in_s: float | None = None


class SeekSlider(QSlider):
    """A slider that jumps to a click."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, _TICKS)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Jump to the click; dragging continues from there."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            share = QStyle.sliderValueFromPosition(0, _TICKS, event.pos().x(), self.width())
            self.setValue(share)
            self.sliderMoved.emit(share)
        super().mousePressEvent(event)


class TransportBar(QWidget):
    """Controls of the source.

    Signals:
        play_toggled, stepped (frames), sought (seconds), loop_changed, speed_changed, mirror_changed: playback.
        resumed: it plays again after a pause.
        snapshot_requested, record_toggled, poses_toggled, export_requested: outputs.
    """

    play_toggled = pyqtSignal()
    resumed = pyqtSignal()
    stepped = pyqtSignal(int)
    sought = pyqtSignal(float)
    loop_changed = pyqtSignal(bool)
    speed_changed = pyqtSignal(float)
    mirror_changed = pyqtSignal(bool)
    snapshot_requested = pyqtSignal()
    record_toggled = pyqtSignal()
    poses_toggled = pyqtSignal()
    export_requested = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("controls")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._duration_s: float | None = None
        self._photos: int | None = None
        self._playing = True
        self._make_widgets()
        steps, place = (self.step_back, self.play, self.step_on), (self.live, (self.slider, 1), self.time)
        playing = (self.loop, self.speed, self.mirror)
        outputs = (self.recording, self.snapshot, self.record, self.poses, self.export)
        layout = in_row(*steps, *place, *playing, 0, *outputs, of=self, margins=(10, 7, 10, 7), spacing=4)
        for before in (self.live, self.loop, self.recording):
            layout.insertSpacing(layout.indexOf(before), 4)
        self.set_source(None)

    def _button(self, name: str, tip: str, *, checkable: bool = False) -> QToolButton:
        button = QToolButton()
        button.setIcon(icon(name))
        button.setIconSize(QSize(20, 20))
        button.setToolTip(tip)
        button.setAccessibleName(tip)
        button.setCheckable(checkable)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def _make_widgets(self) -> None:
        self.play = self._button("pause", self.tr("Play or pause (Space)"))
        self.step_back = self._button("step_back", self.tr("Previous frame (,)"))
        self.step_on = self._button("step", self.tr("Next frame (.)"))
        self.slider = SeekSlider()
        self.slider.setAccessibleName(self.tr("Position in the file"))
        self.time = QLabel()  # two short lines, as for a recording
        self.time.setObjectName("faint")
        self.time.setStyleSheet("font-size: 11px;")
        self.live = QLabel()
        self.loop = self._button("loop", self.tr("Loop (L)"), checkable=True)
        self.speed = QComboBox()
        self.speed.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.speed.setToolTip(self.tr("Speed ([ and ])"))
        self.speed.setAccessibleName(self.tr("Speed"))
        for speed in SPEEDS:
            self.speed.addItem(f"{speed:g}×", speed)
        self.speed.setCurrentIndex(SPEEDS.index(1.0))
        self.mirror = self._button("mirror", self.tr("Mirror (M)"), checkable=True)
        self.recording = QLabel()
        # Two short lines: one long line leaves no room for the slider in a narrow window. Their place is kept free, so
        # that no button moves when a recording starts.
        self.recording.setStyleSheet("font-size: 11px;")
        self.recording.setTextFormat(Qt.TextFormat.RichText)
        self.recording.ensurePolished()
        self.recording.setFixedWidth(self.recording.fontMetrics().horizontalAdvance("888 GB free"))
        self.snapshot = self._button("camera", self.tr("Save a snapshot (S)"))
        self.record = self._button("record", self.tr("Record (R)"))
        self.poses = self._button("poses", self.tr("Record poses as JSON lines (P)"), checkable=True)
        self.export = self._button("export", self.tr("Export files (Ctrl+E)"))
        self._buttons = {
            "play": self.play, "step_back": self.step_back, "step_on": self.step_on, "loop": self.loop,
            "mirror": self.mirror, "snapshot": self.snapshot, "record": self.record, "poses": self.poses,
            "export": self.export,
        }  # fmt: skip
        self.play.clicked.connect(self.play_toggled)
        self.step_back.clicked.connect(lambda: self.stepped.emit(-1))
        self.step_on.clicked.connect(lambda: self.stepped.emit(1))
        self.slider.sliderMoved.connect(self._slider_moved)
        self.loop.toggled.connect(self.loop_changed)
        self.speed.currentIndexChanged.connect(lambda _index: self.speed_changed.emit(self.speed.currentData()))
        self.mirror.toggled.connect(self.mirror_changed)
        self.snapshot.clicked.connect(self.snapshot_requested)
        self.record.clicked.connect(self.record_toggled)
        self.poses.clicked.connect(self.poses_toggled)
        self.export.clicked.connect(self.export_requested)

    def _slider_moved(self, value: int) -> None:
        if self._duration_s is not None:
            last_s = self._duration_s - 1 if self._photos is not None else self._duration_s
            self.sought.emit(value / _TICKS * last_s - (0.5 if self._photos is not None else 0.0))

    def set_source(self, source: SourceOpened | None) -> None:
        """Show the controls that fit a source."""
        is_live = source is not None and source.info.is_live
        is_file = source is not None and not is_live
        self._duration_s = None if source is None else source.duration_s
        self._photos = None
        if source is not None and source.info.kind == "photos":
            self._photos = source.info.frame_count
        self.set_lost(False)
        for widget in (self.step_back, self.step_on, self.slider, self.time, self.loop, self.speed):
            widget.setVisible(not is_live)
        self.speed.setEnabled(is_file)
        is_read_once = source is not None and source.info.read_once
        self.slider.setEnabled(is_file and bool(self._duration_s) and not is_read_once)
        self.live.setVisible(is_live)
        self.mirror.setVisible(is_live)
        self._keep_room_for_time()
        self.set_position(0.0, 0)
        if source is None:
            self.time.clear()

    def set_lost(self, lost: bool) -> None:
        """Show that the signal of a live source is lost, or that it is live."""
        self.live.setText(self.tr("○ LOST") if lost else self.tr("● LIVE"))
        color = colors().warning if lost else colors().error
        self.live.setStyleSheet(f"color: {color}; font-weight: 600; padding: 0 6px;")

    def set_playing(self, playing: bool) -> None:
        """Show pause or play on the button."""
        self.play.setIcon(icon("pause" if playing else "play"))
        if playing and not self._playing:
            self.resumed.emit()
        self._playing = playing

    def _position_text(self, position_s: float, number: int) -> str:
        if self._photos is not None:
            return self.tr("photo {number}\nof {count}").format(number=number + 1, count=self._photos)
        until = f" / {clock(self._duration_s)}" if self._duration_s else ""
        return self.tr("{time}{until}\nframe {number}").format(time=clock(position_s), until=until, number=number)

    def _keep_room_for_time(self) -> None:
        """Room for the longest text of the source, so that the slider keeps its length."""
        longest = self._position_text(self._duration_s or 0.0, 8_888)
        self.time.ensurePolished()
        metrics = self.time.fontMetrics()
        self.time.setMinimumWidth(max(metrics.horizontalAdvance(line) for line in longest.splitlines()) + 2)

    def set_position(self, position_s: float, number: int) -> None:
        """Show the position in the file, and the frame's number from 0, unless the user drags the slider."""
        self.time.setText(self._position_text(position_s, number))
        if self._duration_s and not self.slider.isSliderDown():
            last_s = max(1.0, self._duration_s - 1) if self._photos is not None else self._duration_s
            self.slider.setValue(round(position_s / last_s * _TICKS))

    def allow(self, why_not: Mapping[str, str]) -> None:
        """Disable the buttons of commands with a reason, which is then their tool tip."""
        for name, button in self._buttons.items():
            reason, tip = why_not.get(name, ""), button.accessibleName()
            button.setEnabled(not reason)
            button.setToolTip(f"{tip}\n{reason}" if reason else tip)

    def set_recording(self, running: RecordingState | None, *, by_button: bool = True) -> None:
        """Show time and free bytes of what is recorded; `by_button`: the record button has begun it, and stops it."""
        self.record.setIcon(icon("stop" if running is not None and by_button else "record"))
        if running is None:
            self.recording.clear()
            return
        if running.starts_in_s is not None:
            waits = self.tr("in {seconds} s").format(seconds=math.ceil(running.starts_in_s))
            self.recording.setText(f"<span style='color:{colors().warning}'>○</span> {waits}")
            return
        free_bytes = running.free_bytes
        color = colors().warning if free_bytes < _LITTLE_DISK_BYTES else colors().faint
        amount = f"{free_bytes / 1e12:.1f} TB" if free_bytes >= 1e12 else f"{free_bytes / 1e9:.0f} GB"
        free = self.tr("{amount} free").format(amount=amount)
        until = "" if running.limit_s is None else f"/{_minutes(running.limit_s)}"
        self.recording.setText(
            f"<span style='color:{colors().error}'>●</span> {_minutes(running.elapsed_s)}{until}<br>"
            f"<span style='color:{color}'>{free}</span>"
        )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
