"""Colours and style sheet of the window: dark, so that the video stands out, or light where the system is light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PyQt5.QtGui import QColor, QPalette
from PyQt5.QtWidgets import QApplication


@dataclass(frozen=True, kw_only=True)
class Colors:
    """The colours of a theme.

    Attributes:
        ground, panel, raised, edge: behind everything, of panels, of controls, and of lines around them.
        text, faint, disabled: of texts, on all three; faint explains, disabled cannot be used.
        accent, accent_deep, on_accent: of what is chosen or has the focus, its background, and text on that.
        warning, error, good: of states.
    """

    ground: str
    panel: str
    raised: str
    edge: str
    text: str
    faint: str
    disabled: str
    accent: str
    accent_deep: str
    on_accent: str
    warning: str
    error: str
    good: str


DARK = Colors(
    ground="#12151a", panel="#1a1e25", raised="#262c36", edge="#343c48", text="#e8ebf0", faint="#a3adba",
    disabled="#8993a1", accent="#4fb3ff", accent_deep="#1a66aa", on_accent="#ffffff", warning="#f0b64a",
    error="#ff7a6b", good="#5fd08a",
)  # fmt: skip
LIGHT = Colors(
    ground="#e9edf2", panel="#f5f7fa", raised="#ffffff", edge="#b9c2ce", text="#1a1e25", faint="#4d5764",
    disabled="#5f6976", accent="#1464ad", accent_deep="#1a66aa", on_accent="#ffffff", warning="#825500",
    error="#b3261e", good="#19703a",
)  # fmt: skip
VIDEO_GROUND = DARK.ground  # beside a video it is always dark
ASSETS = Path(__file__).parent / "assets"
_chosen = [DARK]


def colors() -> Colors:
    """The colours of the theme that `apply_theme` chose last."""
    return _chosen[0]


def _style(c: Colors) -> str:
    assets = ASSETS.as_posix()
    return f"""
QWidget {{ font-size: 10pt; }}
QMainWindow, QDialog {{ background: {c.ground}; }}
QToolTip {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.edge}; padding: 4px; }}
QMenuBar {{ background: {c.panel}; padding: 2px 6px; }}
QMenuBar::item {{ padding: 5px 10px; border-radius: 4px; background: transparent; }}
QMenuBar::item:selected, QMenu::item:selected {{
    background: {c.accent_deep}; color: {c.on_accent}; }}
QMenu {{ background: {c.panel}; border: 1px solid {c.edge}; padding: 4px; }}
QMenu::item {{ padding: 6px 28px 6px 24px; border-radius: 4px; }}
QMenu::item:disabled {{ color: {c.disabled}; }}
QMenu::separator {{ height: 1px; background: {c.edge}; margin: 4px 8px; }}
QPushButton, QToolButton {{
    background: {c.raised}; border: 1px solid {c.edge}; border-radius: 6px; padding: 5px 11px; color: {c.text}; }}
QToolButton {{ padding: 5px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {c.accent}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {c.edge}; }}
QPushButton:checked, QToolButton:checked {{
    background: {c.accent_deep}; border-color: {c.accent}; color: {c.on_accent}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {c.disabled}; background: {c.panel}; }}
QPushButton:focus, QToolButton:focus, QComboBox:focus, QSpinBox:focus, QDoubleSpinBox:focus, QLineEdit:focus {{
    border-color: {c.accent}; }}
QPushButton:checked:focus, QToolButton:checked:focus, QPushButton#primary:focus {{
    border: 2px solid {c.text}; padding: 4px 10px; }}
QToolButton:checked:focus {{ padding: 4px; }}
QTabBar::tab:selected:focus {{ border: 1px solid {c.accent}; border-bottom: 2px solid {c.accent}; }}
QCheckBox:focus {{ color: {c.accent}; }}
QSlider:focus {{ border: 1px solid {c.accent}; border-radius: 5px; }}
QPushButton[flat="true"] {{ background: transparent; border-color: transparent; }}
QToolButton::menu-indicator {{ image: none; }}
QComboBox, QSpinBox, QDoubleSpinBox, QLineEdit {{
    background: {c.raised}; border: 1px solid {c.edge}; border-radius: 6px; padding: 4px 8px; min-height: 20px;
    selection-background-color: {c.accent_deep}; selection-color: {c.on_accent}; }}
QComboBox:hover, QSpinBox:hover, QDoubleSpinBox:hover {{ border-color: {c.accent}; }}
QComboBox:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled {{ color: {c.disabled}; background: {c.panel}; }}
QComboBox QAbstractItemView {{ background: {c.panel}; border: 1px solid {c.edge}; outline: 0; }}
QCheckBox {{ spacing: 9px; padding: 3px 0; }}
QCheckBox::indicator {{
    width: 16px; height: 16px; border: 1px solid {c.disabled}; border-radius: 4px; background: {c.raised}; }}
QCheckBox::indicator:hover, QCheckBox:focus::indicator {{ border-color: {c.accent}; }}
QCheckBox::indicator:checked {{
    background: {c.accent_deep}; border-color: {c.accent}; image: url({assets}/check.svg); }}
QCheckBox::indicator:disabled {{ border-color: {c.edge}; background: {c.panel}; }}
QComboBox::drop-down {{ border: 0; width: 24px; }}
QComboBox::down-arrow {{ image: url({assets}/down.svg); width: 14px; height: 14px; }}
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button, QDoubleSpinBox::down-button {{
    border: 0; width: 22px; background: transparent; }}
QSpinBox::up-arrow, QDoubleSpinBox::up-arrow {{ image: url({assets}/up.svg); width: 12px; height: 12px; }}
QSpinBox::down-arrow, QDoubleSpinBox::down-arrow {{ image: url({assets}/down.svg); width: 12px; height: 12px; }}
QCheckBox:disabled, QLabel:disabled {{ color: {c.disabled}; }}
QTabWidget::pane {{ border: 0; background: {c.panel}; }}
QTabBar {{ background: {c.panel}; }}
QTabBar::tab {{ background: {c.panel}; color: {c.faint}; padding: 9px 7px; border-bottom: 2px solid transparent; }}
QTabBar::tab:hover {{ color: {c.text}; }}
QTabBar::tab:selected {{ color: {c.text}; border-bottom: 2px solid {c.accent}; }}
QScrollArea, QScrollArea > QWidget > QWidget {{ background: {c.panel}; border: 0; }}
QScrollBar:vertical {{ background: {c.panel}; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: {c.panel}; height: 10px; margin: 0; }}
QScrollBar::handle:horizontal {{ background: {c.edge}; border-radius: 4px; min-width: 30px; margin: 1px; }}
QScrollBar::handle:vertical {{ background: {c.edge}; border-radius: 4px; min-height: 30px; margin: 1px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; width: 0; }}
QSlider::groove:horizontal {{ height: 4px; background: {c.edge}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {c.accent}; border-radius: 2px; }}
QSlider::sub-page:horizontal:disabled {{ background: {c.edge}; }}
QSlider::handle:horizontal {{ background: {c.text}; width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; }}
QSlider::handle:horizontal:disabled {{ background: {c.disabled}; }}
QProgressBar {{ background: {c.raised}; border: 0; border-radius: 3px; max-height: 6px; }}
QProgressBar::chunk {{ background: {c.accent}; border-radius: 3px; }}
QAbstractItemView::item:disabled {{ color: {c.disabled}; }}
QDialogButtonBox {{ dialogbuttonbox-buttons-have-icons: 0; }}
QMessageBox {{
    messagebox-warning-icon: url({assets}/warning.svg); messagebox-information-icon: url({assets}/information.svg);
    messagebox-critical-icon: url({assets}/critical.svg); messagebox-question-icon: url({assets}/question.svg); }}
QFileDialog {{
    filedialog-backward-icon: url({assets}/back.svg);
    filedialog-parent-directory-icon: url({assets}/parent.svg); filedialog-listview-icon: url({assets}/list.svg);
    filedialog-detailedview-icon: url({assets}/details.svg); filedialog-contentsview-icon: url({assets}/details.svg);
    filedialog-new-directory-icon: url({assets}/new_folder.svg); backward-icon: url({assets}/back.svg);
    forward-icon: url({assets}/forward.svg); home-icon: url({assets}/home.svg);
    computer-icon: url({assets}/computer.svg); directory-icon: url({assets}/folder.svg);
    directory-closed-icon: url({assets}/folder.svg); directory-open-icon: url({assets}/folder.svg);
    directory-link-icon: url({assets}/folder.svg); file-icon: url({assets}/file.svg);
    file-link-icon: url({assets}/file.svg); desktop-icon: url({assets}/computer.svg); }}
QTableView, QTextBrowser, QPlainTextEdit {{ background: {c.panel}; border: 1px solid {c.edge}; border-radius: 6px; }}
QHeaderView::section {{ background: {c.panel}; color: {c.faint}; border: 0; padding: 6px 3px; }}
#sidebar {{ background: {c.panel}; border-left: 1px solid {c.edge}; }}
#controls {{ background: {c.panel}; border-top: 1px solid {c.edge}; }}
#controls QToolButton {{ padding: 4px; }}
#controls QToolButton:checked:focus {{ padding: 3px; }}
#controls QComboBox {{ padding: 4px 0 4px 6px; }}
#controls QComboBox::drop-down {{ width: 18px; }}
#header {{ background: {c.ground}; }}
QLabel#heading {{ color: {c.faint}; font-weight: 600; }}
QLabel#faint {{ color: {c.faint}; }}
QLabel#mono {{ font-family: monospace; color: {c.text}; }}
QLabel#big {{ font-size: 19pt; font-weight: 600; }}
QLabel#title {{ font-size: 15pt; font-weight: 600; }}
QPushButton#primary {{ background: {c.accent_deep}; border-color: {c.accent}; color: {c.on_accent}; }}
QPushButton#primary:hover {{ background: {c.accent_deep}; border-color: {c.on_accent}; }}
QPushButton#primary:disabled {{ background: {c.panel}; border-color: {c.edge}; color: {c.disabled}; }}
"""


def apply_theme(application: QApplication, theme: Colors = DARK) -> None:
    """Give the application its palette and style sheet, before its widgets are made."""
    _chosen[0] = theme
    if not application.styleSheet():  # once: Qt has crashed where a style was replaced under living widgets
        application.setStyle("Fusion")
    palette = QPalette()
    roles = {
        QPalette.ColorRole.Window: theme.panel,
        QPalette.ColorRole.WindowText: theme.text,
        QPalette.ColorRole.Base: theme.panel,
        QPalette.ColorRole.AlternateBase: theme.raised,
        QPalette.ColorRole.Text: theme.text,
        QPalette.ColorRole.Button: theme.raised,
        QPalette.ColorRole.ButtonText: theme.text,
        QPalette.ColorRole.BrightText: theme.error,
        QPalette.ColorRole.ToolTipBase: theme.raised,
        QPalette.ColorRole.ToolTipText: theme.text,
        QPalette.ColorRole.Highlight: theme.accent_deep,
        QPalette.ColorRole.HighlightedText: theme.on_accent,
        QPalette.ColorRole.Link: theme.accent,
        QPalette.ColorRole.PlaceholderText: theme.faint,
    }
    for role, color in roles.items():
        palette.setColor(role, QColor(color))
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme.disabled))
    application.setPalette(palette)
    application.setStyleSheet(_style(theme))
