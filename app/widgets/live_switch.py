"""The switch that sends poses to other programs, with the address they connect to."""

from __future__ import annotations

from PyQt5.QtCore import Qt, QUrl, pyqtSignal
from PyQt5.QtGui import QDesktopServices
from PyQt5.QtWidgets import QCheckBox, QLabel, QWidget

from app.widgets.parts import in_column, push_button


class LiveSwitch(QWidget):
    """A check box and, while it is on, the address.

    Signals:
        toggled: switched on or off by the user.
    """

    toggled = pyqtSignal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.switch = QCheckBox(self.tr("Live poses"))
        self.switch.setToolTip(self.tr("Send the poses to programs and pages on this computer, over a WebSocket"))
        self.switch.clicked.connect(self.toggled)
        self.address = QLabel()
        self.address.setWordWrap(True)
        self.address.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.address.setAccessibleName(self.tr("Address of the live poses"))
        self.open = push_button(self.tr("Open in a browser"), lambda: QDesktopServices.openUrl(QUrl(self._page)))
        self._page = ""
        in_column(self.switch, self.address, self.open, of=self, margins=(0, 0, 0, 0), spacing=4)
        self.show_address("", "")

    def show_address(self, address: str, page: str) -> None:
        """Show where programs connect, and the page for a browser; empty where nothing is sent."""
        self.switch.setChecked(bool(address))
        self._page = page
        self.address.setText(address)
        for widget in (self.address, self.open):
            widget.setVisible(bool(address))
