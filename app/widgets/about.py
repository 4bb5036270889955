"""The About dialog: versions and licences of the program and its packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PyQt5.QtCore import PYQT_VERSION_STR, QT_VERSION_STR, Qt
from PyQt5.QtGui import QIcon
from PyQt5.QtWidgets import QDialog, QDialogButtonBox, QLabel, QTableWidget, QTableWidgetItem, QWidget

from app.qt_setup import TITLE
from app.widgets.parts import faint, in_column

_PARTS = (
    ("Qt", "LGPL-3.0"), ("PyQt5", "GPL-3.0"), ("pyqtgraph", "MIT"), ("platformdirs", "MIT"),
    ("numpy", "BSD-3-Clause"), ("opencv-python", "Apache-2.0"), ("cv2-enumerate-cameras", "MIT"),
    ("av", "BSD-3-Clause; FFmpeg with x264: GPL-2.0"), ("tqdm", "MPL-2.0 and MIT"), ("filelock", "MIT"),
    ("torch", "BSD-3-Clause"), ("torchvision", "BSD-3-Clause"), ("safetensors", "Apache-2.0"), ("timm", "Apache-2.0"),
    ("onnx", "Apache-2.0"), ("onnxslim", "MIT"), ("onnxruntime", "MIT"), ("openvino", "Apache-2.0"),
    ("nncf", "Apache-2.0"), ("tensorrt", "NVIDIA's own"), ("tensorrt-rtx-cu13", "NVIDIA's own"),
    ("ultralytics", "AGPL-3.0"), ("trackers", "Apache-2.0"), ("supervision", "MIT"),
    ("lightning", "Apache-2.0"), ("tensorboard", "Apache-2.0"),
    ("websockets", "BSD-3-Clause"), ("python-osc", "Unlicense"),
    ("pycocotools", "BSD-2-Clause"), ("matplotlib", "PSF"), ("PyYAML", "MIT"), ("psutil", "BSD-3-Clause"),
)  # fmt: skip
_QT_VERSIONS = {"Qt": QT_VERSION_STR, "PyQt5": PYQT_VERSION_STR}


def part_version(package: str) -> str:
    """Version of an installed package, without importing it."""
    try:
        return _QT_VERSIONS.get(package) or version(package)
    except PackageNotFoundError:
        return "–"


class AboutDialog(QDialog):
    """Versions and licences, and the running networks."""

    def __init__(self, program_version: str, description: dict[str, Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("About"))
        self.resize(600, 540)
        layout = in_column(of=self, margins=(24, 20, 24, 20), spacing=8)
        title = QLabel(f"{TITLE} {program_version}")
        title.setObjectName("title")
        layout.addWidget(title)
        layout.addWidget(faint(self.tr("Human pose in real time, with the attention of the network made visible.")))
        layout.addWidget(
            faint(
                self.tr(
                    "Free software under the GNU AGPL 3.0 or later; the weights that come with it are for research use "
                    "only (models/weights/LICENSE). The method: Wu, Wang, Guo, Liu, Keypoint Context Aggregation for "
                    "Human Pose Estimation."
                )
            )
        )
        if description:
            running = self.tr("Runs {pose_model} with {detector}.")
            models = {name: description.get(name) or "–" for name in ("pose_model", "detector")}
            layout.addWidget(QLabel(running.format(**models)))
        table = QTableWidget(len(_PARTS), 3)
        table.setHorizontalHeaderLabels([self.tr("Part"), self.tr("Version"), self.tr("Licence")])
        for row, (package, licence) in enumerate(_PARTS):
            for column, text in enumerate((package, part_version(package), licence)):
                table.setItem(row, column, QTableWidgetItem(text))
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        table.setShowGrid(False)
        rows = table.verticalHeader()
        if rows is not None:
            rows.hide()
        table.setColumnWidth(0, 180)
        table.setColumnWidth(1, 90)
        columns = table.horizontalHeader()
        if columns is not None:
            columns.setStretchLastSection(True)
            columns.setDefaultAlignment(Qt.Alignment(Qt.AlignmentFlag.AlignLeft) | Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(table, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        if close is not None:
            close.setIcon(QIcon())  # the platform's icon fits bright themes only
        layout.addWidget(buttons)
