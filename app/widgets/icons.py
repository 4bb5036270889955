"""Icons in the theme's colours, from drawings that are sharp at every pixel density."""

from __future__ import annotations

from PyQt5.QtGui import QIcon, QPixmap

from app.widgets.theme import ASSETS, colors


def _pixmap(name: str, color: str, signal: str) -> QPixmap:
    """A drawing in a colour; `signal` is that of the parts that are red."""
    drawing = (ASSETS / f"icon_{name}.svg").read_text(encoding="utf-8")
    pixmap = QPixmap()
    pixmap.loadFromData(drawing.replace("currentColor", color).replace("signalColor", signal).encode(), "SVG")
    return pixmap


def icon(name: str) -> QIcon:
    """An icon by its name, in the colours for enabled, checked and disabled."""
    theme = colors()
    made = QIcon(_pixmap(name, theme.text, theme.error))
    made.addPixmap(_pixmap(name, theme.on_accent, theme.error), QIcon.Mode.Normal, QIcon.State.On)
    made.addPixmap(_pixmap(name, theme.disabled, theme.disabled), QIcon.Mode.Disabled)
    return made
