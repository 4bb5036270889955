"""The plot under the video: a coordinate of a keypoint or an angle of the chosen person over the last seconds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PyQt5.QtCore import QRectF, QSize, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QHideEvent, QImage, QPainter, QShowEvent
from PyQt5.QtWidgets import QComboBox, QLabel, QWidget

from app.curve import HISTORY_S, Curve, Quantity
from app.live.composer import Picture
from app.person_choice import PersonChoice
from app.widgets.parts import in_column, in_row, push_button, single_shot
from app.widgets.theme import colors
from app.widgets.time_plot import time_plot
from engine.skeleton import COCO17, Skeleton

_EVERY_MS = 100  # a plot that moves more often costs more than it shows
_TICKS_S = (25, 20, 15, 10, 5, 0)
_WHAT_PX, _HEIGHT_PX = 168, 184
_CAPTION_PX = 24  # in a saved picture
_LEAST_SPAN = 10.0  # of the values, px or degrees: noise is not to look like a movement


class PlotPanel(QWidget):
    """Shows values while it is on the screen; otherwise a frame costs nothing.

    Signals:
        csv_requested: this text is to be saved.
        picture_requested: this image is to be saved.
    """

    csv_requested = pyqtSignal(str)
    picture_requested = pyqtSignal(object)

    def __init__(self, choice: PersonChoice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("controls")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._choice, self.curve = choice, Curve()
        self._offered: list[tuple[str, bool]] = []  # names, and whether it is an angle
        self._threshold = 0.2
        self._picture: Picture | None = None
        self._last: object = None
        self.plot: Any = None  # of pyqtgraph, which is slow to import: made when it is shown first
        self.line: Any = None
        self.dots: Any = None
        self._span = (0.0, 0.0)
        self.what, self.axis = QComboBox(), QComboBox()
        self.what.setMinimumWidth(_WHAT_PX)
        self.what.setAccessibleName(self.tr("Keypoint or angle that is plotted"))
        self.axis.setAccessibleName(self.tr("Coordinate that is plotted"))
        self.axis.addItems(["x", "y"])
        self.axis.setCurrentText("y")
        for box in (self.what, self.axis):
            box.activated.connect(self._choose)
        choice.changed.connect(self._choose)
        self.caption = QLabel()
        self.csv_button = push_button(self.tr("Save as CSV"), lambda: self.csv_requested.emit(self.curve.to_csv()))
        self.picture_button = push_button(self.tr("Save as PNG"), lambda: self.picture_requested.emit(self.picture()))
        self.what.setToolTip(self.tr("A click on a person in the video, or in the People panel, chooses whose it is"))
        for control in (self.what, self.axis, self.csv_button, self.picture_button):
            control.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the video
        self._timer = single_shot(self, self._draw, _EVERY_MS)
        line = in_row(self.what, self.axis, (self.caption, 1), self.csv_button, self.picture_button, spacing=6)
        self._layout = in_column(line, of=self, margins=(10, 6, 10, 4), spacing=4)
        self.setMinimumHeight(150)
        self.set_skeleton(COCO17)

    def sizeHint(self) -> QSize:
        """As high as a curve needs to be read."""
        return QSize(600, _HEIGHT_PX)

    def set_skeleton(self, skeleton: Skeleton) -> None:
        """Offer the keypoints and angles of the network that runs; what it has, too, stays chosen."""
        chosen = self._offered[self.what.currentIndex()] if self._offered else ("", True)
        angles = [(angle.name, True) for angle in skeleton.named_angles]
        self._offered = angles + [(name, False) for name in skeleton.keypoint_names]
        self.what.clear()
        for name, is_angle in self._offered:
            text = name.replace("_", " ")
            self.what.addItem(self.tr("Angle: {name}").format(name=text) if is_angle else text)
        self.what.setCurrentIndex(self._offered.index(chosen) if chosen in self._offered else 0)
        self._choose()

    def set_threshold(self, score_threshold: float) -> None:
        """Keypoints with a lower score have no value."""
        if score_threshold != self._threshold:
            self._threshold = score_threshold
            self._choose()

    def choose(self, name: str, axis: str | None = None) -> None:
        """Plot the angle of that name, or with an axis ('x' or 'y') that coordinate of the keypoint."""
        self.what.setCurrentIndex(self._offered.index((name, axis is None)))
        if axis is not None:
            self.axis.setCurrentText(axis)
        self._choose()

    @property
    def quantity(self) -> Quantity:
        """What is plotted."""
        name, is_angle = self._offered[self.what.currentIndex()]
        return Quantity(name=name, axis=None if is_angle else "x" if self.axis.currentText() == "x" else "y")

    def break_line(self) -> None:
        """There was a pause: no line leads over it."""
        self.curve.break_line()

    def show_picture(self, picture: Picture) -> None:
        """Add a picture to the plot, if that is on the screen."""
        self._picture = picture
        if not self.isVisible():
            return
        self._choice.take(picture)
        if picture.shown is self._last:
            return
        self._last = picture.shown
        self.curve.choose(self.quantity, self._choice.chosen, self._threshold)
        self.curve.add(picture.shown)
        if not self._timer.isActive():
            self._timer.start()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Make the plot the first time."""
        super().showEvent(event)
        if self.plot is None:
            self._make_plot()
        if self._picture is not None:
            self.show_picture(self._picture)
        self._draw()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """No line leads over the time without a plot."""
        super().hideEvent(event)
        self.curve.break_line()

    def _choose(self, *_values: object) -> None:
        self.axis.setEnabled(self.quantity.axis is not None)
        self.curve.choose(self.quantity, self._choice.chosen, self._threshold)
        self._span = (0.0, 0.0)
        self._draw()

    def _make_plot(self) -> None:
        plot = self.plot = time_plot(self.tr, history_s=HISTORY_S, margin_s=1.2, ticks_s=_TICKS_S, axis_px=42)
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.line = plot.plot(pen={"color": colors().accent, "width": 1}, connect="finite")
        self.dots = plot.plot(pen=None, symbol="o", symbolSize=6, symbolBrush=colors().accent, symbolPen=None)
        self._layout.addWidget(plot, 1)

    def _draw(self) -> None:
        if self.plot is None or not self.isVisible():
            return
        times, values = self.curve.points()
        self._fit(values)
        self.line.setData(times, values)
        known = np.isfinite(np.concatenate([[np.nan], values, [np.nan]]))
        alone = known[1:-1] & ~known[:-2] & ~known[2:]  # no line leads to them
        alone[-1:] |= known[-2]  # and the newest
        self.dots.setData(times[alone], values[alone])
        self.caption.setText(self._caption())
        for button in (self.csv_button, self.picture_button):
            button.setEnabled(len(self.curve) > 0)

    def _caption(self) -> str:
        """Whose values these are, and the newest."""
        last, number = self.curve.last, self._choice.chosen.track_id
        known = f"{last:.0f}°" if self.quantity.axis is None else f"{last:.1f} px"
        value = known if math.isfinite(last) else "–"
        if number is not None and not self.curve.has_person:
            return self.tr("#{number} is not in this picture").format(number=number)
        return value if number is None else f"#{number}:  {value}"

    def _fit(self, values: np.ndarray) -> None:
        """Fit the axis where values lie outside or use little of it; it stands still otherwise."""
        self.plot.invertY(self.quantity.axis == "y")  # as in the picture, where y counts from the top
        known = values[np.isfinite(values)]
        if len(known) == 0:
            return
        low, high = float(known.min()), float(known.max())
        bottom, top = self._span
        if bottom <= low and high <= top and max(high - low, _LEAST_SPAN) > 0.4 * (top - bottom):
            return
        spare = max(_LEAST_SPAN - (high - low), 0.3 * (high - low)) / 2
        self._span = low - spare, high + spare
        self.plot.setYRange(*self._span, padding=0)

    def picture(self) -> QImage:
        """The plot as it is, under a line that says what it shows."""
        self._draw()
        plot = self.plot.grab().toImage()
        ratio, c = plot.devicePixelRatio(), colors()
        image = QImage(plot.width(), plot.height() + round(_CAPTION_PX * ratio), QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(ratio)
        image.fill(QColor(c.panel))
        painter = QPainter(image)
        painter.setPen(QColor(c.text))
        painter.setFont(self.font())
        quantity, number = self.quantity, self._choice.chosen.track_id
        what = self.what.currentText() if quantity.axis is None else f"{self.what.currentText()} {quantity.axis}"
        title = f"{what}, {quantity.unit}" if number is None else f"#{number}  {what}, {quantity.unit}"
        place = QRectF(8, 0, image.width() / ratio - 16, _CAPTION_PX)
        painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), title)
        painter.drawImage(QRectF(0, _CAPTION_PX, plot.width() / ratio, plot.height() / ratio), plot)
        painter.end()
        return image
