"""A list of choices, a label and a button that shorten long texts with an ellipsis; the tool tip has the whole text."""

from __future__ import annotations

from PyQt5.QtCore import QEvent, QSize, Qt
from PyQt5.QtGui import QHelpEvent, QPainter, QPaintEvent
from PyQt5.QtWidgets import (
    QComboBox,
    QLabel,
    QStyle,
    QStyleOptionComboBox,
    QStyleOptionToolButton,
    QStylePainter,
    QToolButton,
    QToolTip,
    QWidget,
)

_WIDEST_LIST_PX = 560
_LIST_MARGIN_PX = 28
_MIN_LETTERS = 4


class ElidedCombo(QComboBox):
    """A QComboBox that shortens its text to the width it gets; its list shows whole texts."""

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
        room = place.width() - 2  # the style's margins
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
        """Show the whole text as a tool tip if it is shortened."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip and not self.toolTip():
            text = self.currentText()
            QToolTip.showText(event.globalPos(), text if text != self.shown_text() else "", self)
            return True
        return super().event(event)


class ElidedLabel(QLabel):
    """One line of plain text that prefers its whole width and accepts less."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)

    def minimumSizeHint(self) -> QSize:
        """Room for a few letters."""
        return QSize(_MIN_LETTERS * self.fontMetrics().averageCharWidth(), super().minimumSizeHint().height())

    def shown_text(self) -> str:
        """The text as it is painted."""
        return self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.contentsRect().width())

    def setText(self, text: str | None) -> None:
        """Set the text, which the tool tip shows in full."""
        super().setText(text)
        self.setToolTip(text or "")

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Paint with the text shortened."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), int(self.alignment()), self.shown_text())


class ElidedButton(QToolButton):
    """A button that prefers the width of its whole text and accepts less; the tool tip has the whole text."""

    def minimumSizeHint(self) -> QSize:
        """Room for a few letters."""
        hint = super().sizeHint()
        spare = (
            self.fontMetrics().horizontalAdvance(self.text()) - 2 * _MIN_LETTERS * self.fontMetrics().averageCharWidth()
        )
        return QSize(hint.width() - max(0, spare), hint.height())

    def shown_text(self) -> str:
        """The text as it is painted."""
        if self.width() >= super().sizeHint().width():
            return self.text()
        metrics = self.fontMetrics()
        around = super().sizeHint().width() - metrics.horizontalAdvance(self.text())
        return metrics.elidedText(self.text(), Qt.TextElideMode.ElideMiddle, self.width() - around)

    def setText(self, text: str | None) -> None:
        """Set the text, which the tool tip shows in full."""
        super().setText(text)
        self.setToolTip(text or "")
        self.updateGeometry()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Paint with the text shortened."""
        painter = QStylePainter(self)
        option = QStyleOptionToolButton()
        self.initStyleOption(option)
        option.text = self.shown_text()
        painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)
