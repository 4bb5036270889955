"""The part of the pose panel for building engines: the possible builds, and why others are not possible."""

from __future__ import annotations

from PyQt5.QtCore import pyqtSignal
from PyQt5.QtWidgets import QWidget

from app.widgets.elided import ElidedCombo
from app.widgets.option_controls import disable_item
from app.widgets.parts import faint, in_column, push_button
from engine.build.offers import BuildOffer


class BuildChoice(QWidget):
    """A list of offers and a button.

    Signals:
        build_requested: an offer is to be built.
    """

    build_requested = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.offers = ElidedCombo()
        self.offers.setAccessibleName(self.tr("What to build"))
        self.button = push_button(self.tr("Build"), self._ask)
        self.reason = faint("")
        in_column(self.offers, self.reason, self.button, of=self, margins=(0, 0, 0, 0), spacing=6)
        self._known: tuple[BuildOffer, ...] = ()
        self._busy = False
        self.offers.currentIndexChanged.connect(lambda _index: self._show())

    def set_offers(self, offers: tuple[BuildOffer, ...]) -> None:
        """Show these offers and keep the choice."""
        before = self.chosen
        self._known = offers
        self.offers.blockSignals(True)
        self.offers.clear()
        for offer in offers:
            title = self.tr("{title} (not here)").format(title=offer.title) if offer.why_not else offer.title
            self.offers.addItem(title, offer.key)
            disable_item(self.offers, self.offers.count() - 1, offer.why_not)
        index = -1 if before is None else self.offers.findData(before.key)
        self.offers.setCurrentIndex(max(0, index))
        self.offers.blockSignals(False)
        self._show()

    def set_busy(self, busy: bool) -> None:
        """Disable the button while something is being built."""
        self._busy = busy
        self._show()

    @property
    def chosen(self) -> BuildOffer | None:
        """The chosen offer."""
        key = self.offers.currentData()
        return next((offer for offer in self._known if offer.key == key), None)

    def _show(self) -> None:
        chosen = self.chosen
        self.reason.setText("" if chosen is None else chosen.why_not)
        self.reason.setVisible(bool(self.reason.text()))
        self.button.setEnabled(chosen is not None and not chosen.why_not and not self._busy)

    def _ask(self) -> None:
        if self.chosen is not None:
            self.build_requested.emit(self.chosen)
