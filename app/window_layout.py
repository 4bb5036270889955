"""The parts of the window and where they stand."""

from __future__ import annotations

from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QHBoxLayout, QMainWindow, QScrollArea, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from app.qt_setup import TITLE
from app.settings import Settings
from app.widgets.header import Header
from app.widgets.notice_bar import NoticeBar
from app.widgets.overlay_panel import OverlayPanel
from app.widgets.pose_panel import PosePanel
from app.widgets.source_menu import SourceMenu
from app.widgets.statistics_panel import StatisticsPanel
from app.widgets.transport_bar import TransportBar
from app.widgets.video_view import VideoView
from app.widgets.welcome import Welcome

_SIDEBAR_PX = 324


class WindowLayout(QMainWindow):
    """Makes the widgets and lays them out; `app.main_window` gives them something to do."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self._make_widgets()
        self._lay_out()

    def _make_widgets(self) -> None:
        self.base_title = TITLE
        self.setWindowTitle(TITLE)
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self.notice = NoticeBar()
        self.view = VideoView()
        self.welcome = Welcome()
        self.transport = TransportBar()
        self.overlay_panel = OverlayPanel()
        self.pose_panel = PosePanel()
        self.statistics_panel = StatisticsPanel()
        self.sources = SourceMenu(self.settings, self)
        self.header = Header(self.sources)

    def _lay_out(self) -> None:
        self.pages = QStackedWidget()
        self.pages.addWidget(self.welcome)
        self.pages.addWidget(self.view)
        left = QVBoxLayout()
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(0)
        for widget in (self.header, self.notice):
            left.addWidget(widget)
        left.addWidget(self.pages, 1)
        left.addWidget(self.transport)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("sidebar")
        self.tabs.setDocumentMode(True)
        tab_bar = self.tabs.tabBar()
        if tab_bar is not None:
            tab_bar.setDrawBase(False)
            tab_bar.setExpanding(True)
        self.tabs.setFixedWidth(_SIDEBAR_PX)
        for panel, title in (
            (self.overlay_panel, self.tr("Overlay")),
            (self.pose_panel, self.tr("Pose")),
            (self.statistics_panel, self.tr("Statistics")),
        ):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            area.setWidget(panel)
            self.tabs.addTab(area, title)
        central = QWidget()
        layout = QHBoxLayout(central)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(left, 1)
        layout.addWidget(self.tabs)
        self.setCentralWidget(central)
