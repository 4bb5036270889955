"""Colours and style sheet of the window: dark, so that the video stands out."""

from __future__ import annotations

from pathlib import Path

from PyQt5.QtGui import QColor, QPalette
from PyQt5.QtWidgets import QApplication

GROUND, PANEL, RAISED, EDGE = "#12151a", "#1a1e25", "#262c36", "#343c48"
TEXT, FAINT, DISABLED = "#e8ebf0", "#a3adba", "#66707e"
ACCENT, ACCENT_DEEP = "#4fb3ff", "#1d6fb8"
WARNING, ERROR, GOOD = "#f0b64a", "#ff7a6b", "#5fd08a"

_ASSETS = (Path(__file__).parent / "assets").as_posix()

_STYLE = f"""
QWidget {{ font-size: 10pt; }}
QMainWindow, QDialog {{ background: {GROUND}; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {EDGE}; padding: 4px; }}
QMenuBar {{ background: {PANEL}; padding: 2px 6px; }}
QMenuBar::item {{ padding: 5px 10px; border-radius: 4px; background: transparent; }}
QMenuBar::item:selected, QMenu::item:selected {{ background: {ACCENT_DEEP}; }}
QMenu {{ background: {PANEL}; border: 1px solid {EDGE}; padding: 4px; }}
QMenu::item {{ padding: 6px 28px 6px 24px; border-radius: 4px; }}
QMenu::item:disabled {{ color: {DISABLED}; }}
QMenu::separator {{ height: 1px; background: {EDGE}; margin: 4px 8px; }}
QPushButton, QToolButton {{
    background: {RAISED}; border: 1px solid {EDGE}; border-radius: 6px; padding: 5px 11px; color: {TEXT}; }}
QToolButton {{ padding: 5px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {ACCENT}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {EDGE}; }}
QPushButton:checked, QToolButton:checked {{ background: {ACCENT_DEEP}; border-color: {ACCENT}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {DISABLED}; background: {PANEL}; }}
QPushButton:focus, QToolButton:focus, QComboBox:focus, QSpinBox:focus, QLineEdit:focus {{ border-color: {ACCENT}; }}
QPushButton[flat="true"] {{ background: transparent; border-color: transparent; }}
QToolButton::menu-indicator {{ image: none; }}
QComboBox, QSpinBox, QDoubleSpinBox, QLineEdit {{
    background: {RAISED}; border: 1px solid {EDGE}; border-radius: 6px; padding: 4px 8px; min-height: 20px;
    selection-background-color: {ACCENT_DEEP}; }}
QComboBox:hover, QSpinBox:hover {{ border-color: {ACCENT}; }}
QComboBox:disabled, QSpinBox:disabled {{ color: {DISABLED}; background: {PANEL}; }}
QComboBox QAbstractItemView {{ background: {PANEL}; border: 1px solid {EDGE}; outline: 0; }}
QCheckBox {{ spacing: 9px; padding: 3px 0; }}
QCheckBox::indicator {{
    width: 16px; height: 16px; border: 1px solid {DISABLED}; border-radius: 4px; background: {RAISED}; }}
QCheckBox::indicator:hover, QCheckBox:focus::indicator {{ border-color: {ACCENT}; }}
QCheckBox::indicator:checked {{
    background: {ACCENT_DEEP}; border-color: {ACCENT}; image: url({_ASSETS}/check.svg); }}
QCheckBox::indicator:disabled {{ border-color: {EDGE}; background: {PANEL}; }}
QComboBox::drop-down {{ border: 0; width: 24px; }}
QComboBox::down-arrow {{ image: url({_ASSETS}/down.svg); width: 14px; height: 14px; }}
QSpinBox::up-button, QSpinBox::down-button {{ border: 0; width: 22px; background: transparent; }}
QSpinBox::up-arrow {{ image: url({_ASSETS}/up.svg); width: 12px; height: 12px; }}
QSpinBox::down-arrow {{ image: url({_ASSETS}/down.svg); width: 12px; height: 12px; }}
QCheckBox:disabled, QLabel:disabled {{ color: {DISABLED}; }}
QTabWidget::pane {{ border: 0; background: {PANEL}; }}
QTabBar {{ background: {PANEL}; }}
QTabBar::tab {{ background: {PANEL}; color: {FAINT}; padding: 9px 13px; border-bottom: 2px solid transparent; }}
QTabBar::tab:hover {{ color: {TEXT}; }}
QTabBar::tab:selected {{ color: {TEXT}; border-bottom: 2px solid {ACCENT}; }}
QScrollArea, QScrollArea > QWidget > QWidget {{ background: {PANEL}; border: 0; }}
QScrollBar:vertical {{ background: {PANEL}; width: 10px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {EDGE}; border-radius: 4px; min-height: 30px; margin: 1px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; }}
QSlider::groove:horizontal {{ height: 4px; background: {EDGE}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {ACCENT}; border-radius: 2px; }}
QSlider::sub-page:horizontal:disabled {{ background: {EDGE}; }}
QSlider::handle:horizontal {{ background: {TEXT}; width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; }}
QSlider::handle:horizontal:disabled {{ background: {DISABLED}; }}
QProgressBar {{ background: {RAISED}; border: 0; border-radius: 3px; max-height: 6px; }}
QProgressBar::chunk {{ background: {ACCENT}; border-radius: 3px; }}
QTableWidget, QTextBrowser, QPlainTextEdit {{ background: {PANEL}; border: 1px solid {EDGE}; border-radius: 6px; }}
QHeaderView::section {{ background: {PANEL}; color: {FAINT}; border: 0; padding: 6px 3px; }}
#sidebar {{ background: {PANEL}; border-left: 1px solid {EDGE}; }}
#controls {{ background: {PANEL}; border-top: 1px solid {EDGE}; }}
#header {{ background: {GROUND}; }}
QLabel#heading {{ color: {FAINT}; font-weight: 600; }}
QLabel#faint {{ color: {FAINT}; }}
QLabel#mono {{ font-family: monospace; color: {TEXT}; }}
QLabel#big {{ font-size: 19pt; font-weight: 600; }}
QLabel#title {{ font-size: 15pt; font-weight: 600; }}
QPushButton#primary {{ background: {ACCENT_DEEP}; border-color: {ACCENT}; }}
QPushButton#primary:hover {{ background: #2780cc; }}
"""


def apply_theme(application: QApplication) -> None:
    """Give the application its palette and style sheet."""
    application.setStyle("Fusion")
    palette = QPalette()
    roles = {
        QPalette.ColorRole.Window: PANEL,
        QPalette.ColorRole.WindowText: TEXT,
        QPalette.ColorRole.Base: PANEL,
        QPalette.ColorRole.AlternateBase: RAISED,
        QPalette.ColorRole.Text: TEXT,
        QPalette.ColorRole.Button: RAISED,
        QPalette.ColorRole.ButtonText: TEXT,
        QPalette.ColorRole.BrightText: ERROR,
        QPalette.ColorRole.ToolTipBase: RAISED,
        QPalette.ColorRole.ToolTipText: TEXT,
        QPalette.ColorRole.Highlight: ACCENT_DEEP,
        QPalette.ColorRole.HighlightedText: TEXT,
        QPalette.ColorRole.Link: ACCENT,
        QPalette.ColorRole.PlaceholderText: FAINT,
    }
    for role, color in roles.items():
        palette.setColor(role, QColor(color))
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(DISABLED))
    application.setPalette(palette)
    application.setStyleSheet(_STYLE)
