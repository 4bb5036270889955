"""The maps panel: all keypoints of one person at once, each with its attention map."""

from __future__ import annotations

import re

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QFontMetrics, QHideEvent, QPainter, QPaintEvent, QPen, QResizeEvent, QShowEvent
from PyQt5.QtWidgets import QSizePolicy, QWidget

from app.live.composer import Picture
from app.live.map_grid import MapGrid
from app.live.qimages import to_qimage
from app.person_choice import PersonChoice
from app.widgets.keypoint_picker import KeypointPicker
from app.widgets.parts import faint, heading, in_column, in_row, push_button
from app.widgets.theme import colors
from engine.overlay.attention import colors_of
from engine.skeleton import Skeleton

_ASPECT = 3 / 4  # of a tile, before one was seen
_NAME_PX, _GAP_PX = 15, 3  # room for a name under each tile, and around tiles
_BAR_PX, _BAR_LABELS_PX = 8, 16
_LEAST_CELL_PX = 58


class MapTiles(KeypointPicker):
    """Paints the tiles of a grid with names under them and the colours' values below.

    Signals:
        room_changed: there is another size for each tile.
    """

    room_changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.keypoint_at, parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Attention maps of all keypoints"))
        self.grid: MapGrid | None = None
        self.chosen: int | None = None
        self._aspect = _ASPECT
        self.columns = 1
        """How many tiles stand beside each other: those that get the largest."""
        self._bar = to_qimage(colors_of(np.linspace(0, 1, 256, dtype=np.float32)[None]))

    def minimumSizeHint(self) -> QSize:
        """Tiles that can still be told apart."""
        return QSize(4 * _LEAST_CELL_PX, 340)

    def set_skeleton(self, skeleton: Skeleton) -> None:
        """Show tiles for these keypoints."""
        self._skeleton, self.grid = skeleton, None
        self._arrange()

    def show_grid(self, grid: MapGrid | None) -> None:
        """Paint these tiles next."""
        if grid is not None and len(self._skeleton.keypoint_names) * grid.tile_wh[1] == grid.tiles.height():
            aspect = grid.tile_wh[0] / grid.tile_wh[1]
            if abs(aspect - self._aspect) > 0.05:
                self._aspect = aspect
                self._arrange()
        self.grid = grid
        self.update()

    def _arrange(self) -> None:
        most = max(1, self.width() // _LEAST_CELL_PX)
        self.columns = max(range(1, most + 1), key=lambda columns: min(self._room(columns)))
        self.update()
        self.room_changed.emit()

    def _room(self, columns: int) -> tuple[float, float]:
        """Width of a tile in logical px that the columns leave, and the one that the rows leave."""
        rows = -(-self._skeleton.num_keypoints // columns)
        height = (self.height() - _BAR_PX - _BAR_LABELS_PX - _GAP_PX) / rows - _NAME_PX - _GAP_PX
        return self.width() / columns - _GAP_PX, height * self._aspect

    @property
    def tile_room_wh(self) -> tuple[int, int]:
        """Room for a tile in device px."""
        across, ratio = min(self._room(self.columns)), self.devicePixelRatioF()
        return max(1, int(across * ratio)), max(1, int(across / self._aspect * ratio))

    def cell(self, keypoint: int) -> QRectF:
        """Rectangle of a tile and its name, in logical px."""
        columns = self.columns
        width = self.width() / columns
        height = min(self._room(columns)) / self._aspect + _NAME_PX + _GAP_PX
        return QRectF(keypoint % columns * width, keypoint // columns * height, width, height)

    def tile_area(self, keypoint: int) -> QRectF:
        """Rectangle of a tile, in logical px, on whole device px."""
        cell, ratio = self.cell(keypoint), self.devicePixelRatioF()
        width, height = self.tile_room_wh if self.grid is None else self.grid.tile_wh
        left = round((cell.x() + (cell.width() - width / ratio) / 2) * ratio) / ratio
        return QRectF(left, round(cell.y() * ratio) / ratio, width / ratio, height / ratio)

    def keypoint_at(self, place: QPointF) -> int | None:
        """The keypoint whose tile or name lies at a point."""
        count = self._skeleton.num_keypoints
        return next((keypoint for keypoint in range(count) if self.cell(keypoint).contains(place)), None)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Ask for tiles of another size."""
        super().resizeEvent(event)
        self._arrange()

    def _names(self, metrics: QFontMetrics) -> list[str]:
        """The names under the tiles, all of them shorter where one is too long."""
        names, room = [self._name(keypoint) for keypoint in range(self._skeleton.num_keypoints)], self.cell(0).width()
        if max(metrics.horizontalAdvance(name) for name in names) <= room:
            return names
        short = [re.sub(r"^(left|right) ", lambda side: f"{side[1][0].upper()} ", name) for name in names]
        return [metrics.elidedText(name, Qt.TextElideMode.ElideRight, int(room)) for name in short]

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint tiles, names and the bar of colours."""
        painter = QPainter(self)
        self.paint(painter)
        painter.end()

    def paint(self, painter: QPainter) -> None:
        """Paint all of it with a painter in logical px of the widget."""
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        grid, c = self.grid, colors()
        names = self._names(painter.fontMetrics())
        for keypoint in range(self._skeleton.num_keypoints):
            area, cell = self.tile_area(keypoint), self.cell(keypoint)
            if grid is None:
                painter.fillRect(area, QColor(c.raised))
            else:
                width, height = grid.tile_wh
                painter.drawImage(area, grid.tiles, QRectF(0, keypoint * height, width, height))
            is_marked = keypoint in (self.chosen, self._hovered)
            if is_marked:
                painter.setPen(QPen(QColor(c.accent if keypoint == self.chosen else c.text), 2))
                painter.drawRect(area.adjusted(1, 1, -1, -1))
            painter.setPen(QColor(c.text if is_marked else c.faint))
            place = QRectF(cell.x(), area.bottom(), cell.width(), _NAME_PX)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), names[keypoint])
        self._paint_bar(painter)

    def _paint_bar(self, painter: QPainter) -> None:
        values = None if self.grid is None else self.grid.values
        top = self.cell(self._skeleton.num_keypoints - 1).bottom() + _GAP_PX
        painter.drawImage(QRectF(0, top, self.width(), _BAR_PX), self._bar)
        if values is None:
            return
        painter.setPen(QColor(colors().faint))
        place = QRectF(0, top + _BAR_PX, self.width(), _BAR_LABELS_PX)
        ways = (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignRight)
        for text, way in zip(values.labels(), ways, strict=True):
            painter.drawText(place, int(way) | int(Qt.AlignmentFlag.AlignVCenter), text)


class MapsPanel(QWidget):
    """Shows the maps of the chosen person while it is on the screen; otherwise none are drawn.

    Signals:
        wanted: it wants tiles of another size, or none any more.
        keypoint_chosen: the tile of this keypoint was clicked.
        sheet_requested, maps_requested: what this picture shows is to be saved, as a picture or as numbers.
    """

    wanted = pyqtSignal()
    keypoint_chosen = pyqtSignal(int)
    sheet_requested = pyqtSignal(object)
    maps_requested = pyqtSignal(object)

    def __init__(self, choice: PersonChoice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.choice = choice
        self._picture: Picture | None = None
        self._has_attention = True
        self.title, self.hint = heading(""), faint("")
        self.tiles = MapTiles()
        self.tiles.keypoint_chosen.connect(self.keypoint_chosen)
        self.tiles.room_changed.connect(self.wanted)
        self.sheet_button = push_button(
            self.tr("Save as PNG"),
            lambda: self.sheet_requested.emit(self._picture),
            self.tr("All maps of this picture in one sheet, with names"),
        )
        self.maps_button = push_button(
            self.tr("Save as NPZ"),
            lambda: self.maps_requested.emit(self._picture),
            self.tr("The maps G and S of this person as numbers, for NumPy"),
        )
        buttons = in_row((self.sheet_button, 1), (self.maps_button, 1))
        in_column(self.title, self.hint, (self.tiles, 1), buttons, of=self, margins=(12, 8, 8, 12), spacing=6)
        self._write()

    def set_skeleton(self, skeleton: Skeleton, *, has_attention: bool) -> None:
        """Fit the panel to the network that runs."""
        self._has_attention = has_attention
        self.tiles.set_skeleton(skeleton)
        self._write()

    @property
    def tile_room_wh(self) -> tuple[int, int] | None:
        """Room for a tile in device px; None while the panel is not on the screen, or there are no maps."""
        return self.tiles.tile_room_wh if self._has_attention and self.isVisible() else None

    def show_chosen(self, keypoint: int | None) -> None:
        """Mark the keypoint whose map lies over the video; None where there is none."""
        if keypoint != self.tiles.chosen:
            self.tiles.chosen = keypoint
            self.tiles.update()

    def show_picture(self, picture: Picture) -> None:
        """Show the maps that came with a picture, if the panel is on the screen."""
        if not self.isVisible():
            return
        self._picture = picture
        self.choice.take(picture)
        self.tiles.show_grid(picture.grid)
        self._write()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Ask for maps."""
        super().showEvent(event)
        self.wanted.emit()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Ask for no more."""
        super().hideEvent(event)
        self.wanted.emit()

    def _write(self) -> None:
        grid, picture = self.tiles.grid, self._picture
        for each in (self.sheet_button, self.maps_button):
            each.setEnabled(grid is not None)
        result = None if picture is None else picture.shown.result
        kind = self.tr("Area G") if grid is not None and grid.kind == "areas" else self.tr("Attention S")
        title, hint = self.tr("Attention of all keypoints"), ""
        if not self._has_attention:
            hint = self.tr("This network has no attention maps; kcam_ models have.")
        elif grid is not None and result is not None:
            ids = result.poses.track_ids
            title = kind if ids is None else self.tr("{kind} of #{number}").format(kind=kind, number=ids[grid.person])
            hint = self.tr("A click shows that keypoint in the video.")
        elif self.choice.chosen.track_id is not None:
            hint = self.tr("Person #{number} is not in this picture").format(number=self.choice.chosen.track_id)
        else:
            hint = self.tr("Nobody is in the picture.")
        self.title.setText(title)
        self.hint.setText(hint)
