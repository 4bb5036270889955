"""A list of choices whose long texts end in an ellipsis instead of being cut through a letter."""

from __future__ import annotations

from PyQt5.QtCore import QEvent, Qt
from PyQt5.QtGui import QHelpEvent, QPaintEvent
from PyQt5.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter, QToolTip, QWidget

_WIDEST_LIST_PX = 560
_LIST_MARGIN_PX = 28


class ElidedCombo(QComboBox):
    """A QComboBox no wider than its place; the whole text stands in its list and in its tool tip."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)

    def shown_text(self) -> str:
        """The text as it is painted."""
        return self._option().currentText or ""

    def _option(self) -> QStyleOptionComboBox:
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        assert style is not None  # noqa: S101 - every widget has one
        place = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        room = place.width() - 2  # what the style leaves free at the sides
        option.currentText = self.fontMetrics().elidedText(option.currentText, Qt.TextElideMode.ElideRight, room)
        return option

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint with the text shortened."""
        painter = QStylePainter(self)
        option = self._option()
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def showPopup(self) -> None:
        """Open the list, as wide as its longest text."""
        view = self.view()
        if view is not None:
            view.setMinimumWidth(min(_WIDEST_LIST_PX, view.sizeHintForColumn(0) + _LIST_MARGIN_PX))
        super().showPopup()

    def event(self, event: QEvent | None) -> bool:
        """Tell the whole text where it is shortened."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip and not self.toolTip():
            text = self.currentText()
            QToolTip.showText(event.globalPos(), text if text != self.shown_text() else "", self)
            return True
        return super().event(event)
