"""The people panel: the people of the picture as a table, and the keypoints of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PyQt5.QtCore import QAbstractTableModel, QModelIndex, Qt, pyqtSignal
from PyQt5.QtGui import QShowEvent
from PyQt5.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from app.live.composer import Picture
from app.people import KEYPOINT_COLUMNS, UNKNOWN, keypoint_rows, person_columns, person_rows, probed_person
from app.person_choice import PersonChoice
from app.widgets.parts import faint, heading, in_column, in_row, push_button, single_shot
from engine.types import Poses

_EVERY_MS = 100  # numbers that change faster cannot be read
_RIGHT = int(Qt.Alignment(Qt.AlignmentFlag.AlignRight) | Qt.AlignmentFlag.AlignVCenter)


class _Rows(QAbstractTableModel):
    """Rows of texts under titles; only what changes is announced."""

    def __init__(self, columns: Sequence[str], parent: QWidget, tips: Mapping[str, str]) -> None:
        super().__init__(parent)
        self._tips = tips
        self.columns: tuple[str, ...] = tuple(columns)
        self.rows: list[list[str]] = []

    def show(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        """Show other rows."""
        if len(rows) != len(self.rows) or tuple(columns) != self.columns:
            self.beginResetModel()
            self.columns, self.rows = tuple(columns), rows
            self.endResetModel()
        elif rows != self.rows:
            self.rows = rows
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(self.columns) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Number of rows."""
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Number of columns."""
        return len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The text of a cell; all but names stand on the right."""
        if role == Qt.ItemDataRole.DisplayRole:
            return self.rows[index.row()][index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and self.columns[index.column()] != KEYPOINT_COLUMNS[0]:
            return _RIGHT
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The title of a column."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return self._tips.get(self.columns[section])
        return None

    def text(self) -> str:
        """Titles and rows, separated by tabs, for a spreadsheet."""
        return "".join("\t".join(cells) + "\n" for cells in (self.columns, *self.rows))


class PeoplePanel(QWidget):
    """Shows numbers while it is on the screen; otherwise a frame costs nothing.

    Signals:
        copied: text for the clipboard.
        save_requested: the people of this picture are to be saved.
    """

    copied = pyqtSignal(str)
    save_requested = pyqtSignal(object)

    def __init__(self, choice: PersonChoice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.score_threshold = 0.2
        self._choice = choice
        self._picture: Picture | None = None
        self._written: Picture | None = None
        self._longest: list[int] = []
        person = self.tr("The score of the box times the mean of the keypoint scores above 0.2")
        peak = self.tr("The height of the heatmap's peak, 1 at most")
        self._people = _Rows((), self, {"score": person})
        self._keypoints = _Rows(KEYPOINT_COLUMNS, self, {"score": peak})
        self.people = self._table(self._people, self.tr("People of the picture"))
        self.keypoints = self._table(self._keypoints, self.tr("Keypoints of the chosen person"))
        header = self.keypoints.horizontalHeader()
        assert header is not None  # noqa: S101 - a table has one
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.people.clicked.connect(lambda index: self._choose(index.row()))
        self.title = heading("")
        self.nobody = faint(self.tr("Nobody is in the picture."))
        self.copy_button = push_button(
            self.tr("Copy"),
            lambda: self.copied.emit(self.text()),
            self.tr("Both tables, separated by tabs, for a spreadsheet"),
        )
        self.save_button = push_button(
            self.tr("Save as CSV"),
            lambda: self.save_requested.emit(self._written),
            self.tr("All keypoints and angles of the people of this picture"),
        )
        self._timer = single_shot(self, self._write, _EVERY_MS)
        self.people.setFixedHeight(176)
        self.keypoints.setMinimumHeight(190)
        in_column(
            heading(self.tr("People")),
            self.nobody,
            self.people,
            in_row((self.copy_button, 1), (self.save_button, 1)),
            self.title,
            (self.keypoints, 1),
            of=self,
            margins=(16, 8, 9, 12),
            spacing=6,
        )
        self._write()

    def _table(self, model: _Rows, name: str) -> QTableView:
        table = QTableView()
        table.setModel(model)
        table.setAccessibleName(name)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the video
        table.setShowGrid(False)
        table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        rows, columns = table.verticalHeader(), table.horizontalHeader()
        assert rows is not None and columns is not None  # noqa: S101 - a table has both
        rows.hide()
        rows.setMinimumSectionSize(20)
        rows.setDefaultSectionSize(23)
        columns.setHighlightSections(False)
        columns.setMinimumSectionSize(30)
        return table

    def show_picture(self, picture: Picture) -> None:
        """Show the people of this picture soon, if the panel is on the screen."""
        self._picture = picture
        if not self._timer.isActive() and self.isVisible():
            self._timer.start()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Show the people of the last picture."""
        super().showEvent(event)
        self._write()

    @property
    def _poses(self) -> Poses | None:
        return None if self._written is None else self._written.shown.poses

    def text(self) -> str:
        """Both tables as shown, separated by tabs."""
        return f"{self._people.text()}\n{self.title.text()}\n{self._keypoints.text()}"

    def _choose(self, row: int) -> None:
        """Show the keypoints of the person in a row, in the pictures that come, too."""
        poses = self._poses
        if poses is not None:
            self._choice.choose(poses, row)
        self._write_keypoints()

    def _write(self) -> None:
        picture = self._written = self._picture
        poses, skeleton = self._poses, None if picture is None else picture.shown.skeleton
        if poses is None or skeleton is None:
            rows: list[list[str]] = []
            columns = self._people.columns
        else:
            rows = person_rows(poses, skeleton, self.score_threshold)
            columns = person_columns(skeleton)
        self._people.show(columns, rows)
        self._keep_room(columns, rows)
        self.nobody.setVisible(not rows)
        for each in (self.copy_button, self.save_button):
            each.setEnabled(bool(rows))
        if picture is not None:
            self._choice.take(picture)
        self._write_keypoints()

    def _keep_room(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        """Widen the columns when a text is longer than any before it: narrower ones would move with every frame."""
        longest = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        before = self._longest if len(self._longest) == len(longest) else [0] * len(longest)
        self._longest = [max(pair) for pair in zip(longest, before, strict=True)]
        if self._longest != before:
            self.people.resizeColumnsToContents()

    def _write_keypoints(self) -> None:
        picture, poses = self._written, self._poses
        skeleton = None if picture is None else picture.shown.skeleton
        person, waited_for = self._choice.chosen.person_in(poses), self._choice.chosen.track_id
        if picture is None or poses is None or skeleton is None or person is None:
            waits = self.tr("Person #{number} is not in this picture").format(number=waited_for)
            self.title.setText(waits if waited_for is not None else self.tr("Keypoints"))
            self._keypoints.show(KEYPOINT_COLUMNS, [])
            self.people.clearSelection()
            return
        number = UNKNOWN if poses.track_ids is None else f"#{poses.track_ids[person]}"
        self.title.setText(self.tr("Keypoints of {number}").format(number=number))
        reading = picture.reading if probed_person(picture) == person else None
        probed = None if reading is None else reading.values.tolist()
        self._keypoints.show(KEYPOINT_COLUMNS, keypoint_rows(poses, person, skeleton, probed))
        selection = self.people.selectionModel()
        if selection is not None and not selection.isRowSelected(person, QModelIndex()):
            self.people.selectRow(person)
