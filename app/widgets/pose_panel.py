"""The pose panel: networks, backend and precision, detection and tracking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PyQt5.QtCore import Qt, QTimer, pyqtSignal
from PyQt5.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.widgets.build_choice import BuildChoice
from app.widgets.elided import ElidedCombo
from app.widgets.overlay_panel import faint, heading
from app.widgets.value_slider import ScoreSlider
from engine.artifacts.model_files import bundled_detectors, bundled_pose_models, default_models
from engine.backends import BACKENDS, PRECISIONS
from engine.errors import EngineError
from engine.pipeline.pose_pipeline import PipelineOptions

_SETTLE_MS = 350  # a slider that is being dragged must not open a pipeline at every step
_OTHER = "…"
_EVERY = ("auto", "1", "2", "3", "5", "10")


def _default(kind: str) -> str | None:
    try:
        return str(getattr(default_models(), kind))
    except EngineError:
        return None


class ModelChoice(ElidedCombo):
    """Bundled models by name, and files.

    Signals:
        chosen: another model was chosen.
    """

    chosen = pyqtSignal()

    def __init__(self, shipped: tuple[str, ...], default: str | None, pattern: str, title: str) -> None:
        super().__init__()
        self._pattern, self._title = pattern, title
        self.setAccessibleName(title)
        for name in sorted(shipped, key=lambda name: (name != default, name)):
            self.addItem(self.tr("{name} (default)").format(name=name) if name == default else name, name)
        if not shipped:
            self.addItem(self.tr("default"), None)
        self.addItem(self.tr("Open a file…"), _OTHER)
        self._last = 0
        self.activated.connect(self._activated)

    @property
    def choice(self) -> str | None:
        """Name or file of what is chosen; None for the default."""
        found = self.currentData() if self.currentData() != _OTHER else self.itemData(self._last)
        return None if found is None else str(found)

    def set_model(self, model: str | None) -> None:
        """Choose without a signal; a file is added to the list."""
        index = self.findData(model) if model is not None else 0
        if index < 0:
            index = self.count() - 1
            self.insertItem(index, Path(str(model)).name, model)
            self.setItemData(index, str(model), Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(index)
        self._last = index

    def _activated(self, index: int) -> None:
        if self.itemData(index) != _OTHER:
            self._last = index
            self.chosen.emit()
            return
        self.setCurrentIndex(self._last)
        file, _kind = QFileDialog.getOpenFileName(self, self._title, "", self._pattern)
        if file:
            self.set_model(file)
            self.chosen.emit()


class PosePanel(QWidget):
    """Choices that need another pipeline; the present one goes on until it is open.

    Signals:
        changed: other PipelineOptions, once they have settled.
    """

    changed = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._base = PipelineOptions()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._announce)  # no lambda: Qt drops a method with its panel
        self._make_choices()
        self._make_people()
        self.builds = BuildChoice()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 8, 9, 16)
        layout.setSpacing(6)
        layout.addWidget(heading(self.tr("Networks")))
        layout.addLayout(self._networks)
        layout.addWidget(self.running)
        layout.addWidget(self.passed_over)
        layout.addWidget(heading(self.tr("People")))
        layout.addLayout(self._people)
        layout.addWidget(self.tracking)
        layout.addWidget(self.smoothing)
        layout.addWidget(heading(self.tr("Build an engine")))
        layout.addWidget(self.builds)
        layout.addStretch(1)
        self.set_options(self._base)

    def _make_choices(self) -> None:
        poses = self.tr("Pose networks (*.safetensors *.onnx)")
        detectors = self.tr("Detectors (*.onnx *.pt)")
        self.pose_model = ModelChoice(
            bundled_pose_models(), _default("pose_model"), poses, self.tr("Open a pose network")
        )
        self.detector = ModelChoice(bundled_detectors(), _default("detector"), detectors, self.tr("Open a detector"))
        self.backend, self.precision = QComboBox(), QComboBox()
        self.backend.addItems(["auto", *BACKENDS])
        self.precision.addItems(list(PRECISIONS))
        self._networks = QFormLayout()
        self._networks.setVerticalSpacing(8)
        for text, box in (
            (self.tr("Pose model"), self.pose_model),
            (self.tr("Detector"), self.detector),
            (self.tr("Backend"), self.backend),
            (self.tr("Precision"), self.precision),
        ):
            box.setAccessibleName(text)
            self._networks.addRow(text, box)
        for model in (self.pose_model, self.detector):
            model.chosen.connect(self._touched)
        for plain in (self.backend, self.precision):
            plain.activated.connect(self._touched)
        self.running, self.passed_over = QLabel(), faint("")
        self.running.setWordWrap(True)

    def _make_people(self) -> None:
        self.every = QComboBox()
        self.every.addItems(list(_EVERY))
        self.every.activated.connect(self._touched)
        self.every.setToolTip(self.tr("Look for people on every so many frames; between them boxes follow the poses"))
        self.score, self.person_score = ScoreSlider(1, 95), ScoreSlider(0, 95)
        for slider in (self.score, self.person_score):
            slider.valueChanged.connect(self._touched)
        self.most = QSpinBox()
        self.most.setRange(1, 64)
        self.most.valueChanged.connect(self._touched)
        self._people = QFormLayout()
        self._people.setVerticalSpacing(8)
        self.score.add_to(self._people, self.tr("Box score"), self.tr("Leave out boxes with a lower score"))
        self.person_score.add_to(
            self._people,
            self.tr("Certainty"),
            self.tr("Leave out people of whom detector and pose network together are less certain"),
        )
        self._people.addRow(self.tr("Most people"), self.most)
        self._people.addRow(self.tr("Detect every"), self.every)
        for text, widget in (
            (self.tr("Most people"), self.most),
            (self.tr("Detect every so many frames"), self.every),
        ):
            widget.setAccessibleName(text)
        self.tracking = QCheckBox(self.tr("Follow people (ids)"))
        self.smoothing = QCheckBox(self.tr("Smooth keypoints over time"))
        for check in (self.tracking, self.smoothing):
            check.toggled.connect(self._touched)

    @property
    def options(self) -> PipelineOptions:
        """The chosen options; those that the panel does not show are kept."""
        every = self.every.currentText()
        return PipelineOptions(
            pose_model=self.pose_model.choice,
            detector=self.detector.choice,
            backend=self.backend.currentText(),
            precision=self.precision.currentText(),
            device=self._base.device,
            classes=self._base.classes,
            download=self._base.download,
            score_threshold=self.score.score,
            person_threshold=self.person_score.score,
            max_people=self.most.value(),
            tracking=self.tracking.isChecked(),
            smoothing=self.smoothing.isChecked(),
            detect_every=int(every) if every.isdecimal() else "auto",
        )

    def set_options(self, options: PipelineOptions) -> None:
        """Show these choices, without a signal."""
        self._base = options
        self.blockSignals(True)
        self.pose_model.set_model(options.pose_model)
        self.detector.set_model(options.detector)
        self.backend.setCurrentText(options.backend)
        self.precision.setCurrentText(options.precision)
        self.score.set_score(options.score_threshold)
        self.person_score.set_score(options.person_threshold)
        self.most.setValue(options.max_people)
        if self.every.findText(str(options.detect_every)) < 0:
            self.every.addItem(str(options.detect_every))
        self.every.setCurrentText(str(options.detect_every))
        self.tracking.setChecked(options.tracking)
        self.smoothing.setChecked(options.smoothing)
        self._settle.stop()
        self.blockSignals(False)

    def show_running(self, description: dict[str, Any]) -> None:
        """Show what runs, and why other backends were skipped."""
        if not description:
            self.running.setText("")
            self.passed_over.setText("")
            return
        self.running.setText(
            self.tr("Runs on <b>{backend}</b> · {device} · {precision}").format(
                backend=description.get("backend"),
                device=description.get("device"),
                precision=description.get("precision"),
            )
        )
        passed = [f"{name}: {why}" for name, why in description.get("passed_over", [])]
        self.passed_over.setText("\n".join([self.tr("Passed over:"), *passed]) if passed else "")

    def show_opening(self, line: str) -> None:
        """Show that another pipeline is being opened."""
        self.running.setText(line)

    def _announce(self) -> None:
        self.changed.emit(self.options)

    def _touched(self, *_values: object) -> None:
        self.smoothing.setEnabled(self.tracking.isChecked())
        self._settle.start()
