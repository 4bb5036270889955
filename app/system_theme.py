"""Whether the desktop is set to light or dark."""

from __future__ import annotations

import sys

from PyQt5.QtCore import QSettings
from PyQt5.QtGui import QPalette
from PyQt5.QtWidgets import QApplication

from app.widgets.theme import DARK, LIGHT, Colors

_PORTAL_LIMIT_MS = 300
_PREFERS_LIGHT = 2  # of `color-scheme` in the desktop portal; 1 is dark, 0 no preference
_WINDOWS_KEY = r"HKEY_CURRENT_USER\Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"


def system_theme(application: QApplication) -> Colors:
    """The theme that fits the desktop; the dark one where it has no preference, or does not say.

    Call it before the application gets a palette of its own.
    """
    if sys.platform == "win32":
        return LIGHT if QSettings(_WINDOWS_KEY, QSettings.Format.NativeFormat).value("AppsUseLightTheme", 0) else DARK
    if sys.platform == "darwin":
        return LIGHT if application.palette().color(QPalette.ColorRole.Window).lightness() > 127 else DARK
    return LIGHT if _portal_scheme() == _PREFERS_LIGHT else DARK


def _portal_scheme() -> int | None:
    """`color-scheme` of the desktop portal (GNOME, KDE and others on Linux); None without one."""
    try:
        from PyQt5.QtDBus import QDBusConnection, QDBusInterface, QDBusMessage
    except ImportError:  # some builds of PyQt5 leave it out
        return None
    bus = QDBusConnection.sessionBus()
    if not bus.isConnected():
        return None
    portal = QDBusInterface(
        "org.freedesktop.portal.Desktop",
        "/org/freedesktop/portal/desktop",
        "org.freedesktop.portal.Settings",
        bus,
    )
    portal.setTimeout(_PORTAL_LIMIT_MS)
    reply = portal.call("Read", "org.freedesktop.appearance", "color-scheme")
    if reply.type() != QDBusMessage.MessageType.ReplyMessage or not reply.arguments():
        return None
    value = reply.arguments()[0]
    while hasattr(value, "variant"):  # the portal wraps the number twice
        value = value.variant()
    return value if isinstance(value, int) else None
