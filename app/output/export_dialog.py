"""The export dialog: which files, what of them is written, where to, and how far each is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PyQt5.QtCore import Qt, QUrl
from PyQt5.QtGui import QDesktopServices
from PyQt5.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QScrollArea,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.output.export_job import ExportProbes, ExportRequest
from app.output.export_queue import ExportItem, ExportQueue
from app.settings import Settings
from app.widgets.elided import ElidedLabel
from app.widgets.option_controls import OptionControl, make_control
from app.widgets.overlay_panel import faint, heading
from app.widgets.source_menu import MEDIA
from app.widgets.transport_bar import clock
from app.wording import in_window_words
from engine.option_table import Place, options_of
from engine.options import Options, PoseOptions
from engine.output.files import resolve_output
from engine.output.poses_writer import POSES_SUFFIXES
from engine.output.run_video import NO_PICTURES
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.options import PipelineOptions
from engine.sources.addresses import shown
from engine.sources.frame_source import SourceInfo
from engine.sources.opening import path_of
from engine.sources.photos import PHOTO_SUFFIXES

RAW = OverlayOptions(skeleton=False, ids=False, legend=False)
"""Nothing is drawn."""
_WITH_OVERLAY, _RAW, _NO_PICTURE = range(3)
_SOURCE, _NAME, _STATE = range(3)
_TICK = 1e-6
_MAPS_SUFFIX = ".npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowState:
    """What the window shows, for an export that is to be like it.

    Attributes:
        text, info: the open source.
        position_s: of the picture in it.
        pipeline: networks, backend and so on.
        overlay: what is drawn.
        attention: the name of the tinted keypoint; empty for none.
        probes: the probes; None for none.
    """

    text: str
    info: SourceInfo
    position_s: float
    pipeline: PipelineOptions
    overlay: OverlayOptions
    attention: str
    probes: ExportProbes | None


@dataclass(kw_only=True, eq=False)
class _New:
    """A file that is not in the queue yet."""

    text: str
    info: SourceInfo


def info_of(text: str) -> SourceInfo:
    """What a text tells of a source that is not open."""
    path = path_of(text)
    is_photo = path is not None and (path.is_dir() or path.suffix.lower() in PHOTO_SUFFIXES)
    return SourceInfo(name=shown(text), kind="photos" if is_photo else "video", path=path)


def stem_of(info: SourceInfo) -> str:
    """The beginning of the names of what is written of a source."""
    return resolve_output(info, None).stem.removesuffix("_pose")


class ExportDialog(QDialog):
    """Adds files to the queue, and shows its state; the window stays usable."""

    def __init__(
        self,
        queue: ExportQueue,
        settings: Settings,
        now: Callable[[], WindowState | None],
        folder: Path,
        parent: QWidget,
    ) -> None:
        """Show what the window shows.

        Args:
            queue: runs the exports.
            settings: remember the folder and the formats.
            now: what the window shows; None where nothing can be exported.
            folder: where files go unless another was chosen before.
            parent: the window.
        """
        super().__init__(parent)
        self.setWindowTitle(self.tr("Export"))
        self._queue, self._settings, self._now = queue, settings, now
        self.folder = Path(settings.text("export_folder") or folder).resolve()
        self._rows: list[tuple[QTreeWidgetItem, _New | ExportItem]] = []
        self._infos: dict[str, SourceInfo] = {}
        self.controls: dict[str, OptionControl] = {}
        self._make_files()
        self._make_choices()
        self._lay_out()
        queue.changed.connect(self.refresh)
        self.resize(860, 520)

    # --- the widgets ------------------------------------------------------------------------------------------------

    def _make_files(self) -> None:
        self.files = QTreeWidget()
        self.files.setColumnCount(3)
        self.files.setHeaderLabels([self.tr("Source"), self.tr("Name of the files"), self.tr("State")])
        self.files.setRootIsDecorated(False)
        self.files.setSelectionMode(QTreeWidget.SelectionMode.ExtendedSelection)
        self.files.setAccessibleName(self.tr("Files to export"))
        header = self.files.header()
        assert header is not None  # noqa: S101 - a tree has one
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setStretchLastSection(False)
        self.files.setEditTriggers(QTreeWidget.EditTrigger.NoEditTriggers)
        self.files.itemDoubleClicked.connect(self._edit)
        self.files.itemSelectionChanged.connect(self.refresh)
        self.add_button, self.remove_button = QPushButton(self.tr("Add files…")), QPushButton(self.tr("Remove"))
        self.rename_button, self.show_button = QPushButton(self.tr("Rename")), QPushButton(self.tr("Show in folder"))
        self.again_button = QPushButton(self.tr("Again"))
        self.again_button.setToolTip(self.tr("The same file once more, with the choices on the right"))
        self.again_button.clicked.connect(self.again)
        self.add_button.clicked.connect(self._ask_files)
        self.remove_button.clicked.connect(self.remove)
        self.rename_button.clicked.connect(self._rename)
        self.show_button.clicked.connect(self._show_in_folder)

    def _make_choices(self) -> None:
        for item in options_of(Options, Place.EXPORT):
            assert item.control is not None  # noqa: S101 - options of the dialog have one
            control = self.controls[item.name] = make_control(item, item.control, self.tr)
            control.show(item.default)
        self.picture = QComboBox()
        self.picture.setAccessibleName(self.tr("Picture"))
        self.picture.addItems([self.tr("with the overlay"), self.tr("raw"), self.tr("none, only data")])
        self.attention, self.probe = QCheckBox(), QCheckBox()
        for box in (self.attention, self.probe):  # what the window shows, unless it is left out here
            box.setChecked(True)
        self.formats: dict[str, QCheckBox] = {}
        names = {".jsonl": self.tr("JSON lines"), ".csv": self.tr("CSV"), ".json": self.tr("COCO JSON")}
        for suffix in (*POSES_SUFFIXES, _MAPS_SUFFIX):
            text = names.get(suffix, self.tr("Attention maps")) + f"  ({suffix})"
            box = self.formats[suffix] = QCheckBox(text)
            box.setChecked(self._settings.flag(f"export{suffix}", False))
            box.toggled.connect(lambda on, suffix=suffix: self._settings.set_flag(f"export{suffix}", on))
        self.here, self.to_here = QPushButton(self.tr("Here")), QPushButton(self.tr("To here"))
        self.here.setToolTip(self.tr("From the picture that the window shows"))
        self.to_here.setToolTip(self.tr("To the picture that the window shows"))
        self.here.clicked.connect(self._from_here)
        self.to_here.clicked.connect(self._until_here)
        self.folder_text = ElidedLabel()
        self.folder_button = QPushButton(self.tr("Change…"))
        self.folder_button.clicked.connect(self._ask_folder)
        self.note = faint("")
        self.export_button, self.cancel_button = QPushButton(self.tr("Export")), QPushButton(self.tr("Cancel all"))
        self.close_button = QPushButton(self.tr("Close"))
        self.export_button.setObjectName("primary")
        self.export_button.setDefault(True)
        self.export_button.clicked.connect(self.export)
        self.cancel_button.clicked.connect(self._queue.cancel_all)
        self.close_button.clicked.connect(self.hide)
        self.picture.currentIndexChanged.connect(lambda _index: self.refresh())
        for box in self.formats.values():
            box.toggled.connect(lambda _on: self.refresh())

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        for button in (self.add_button, self.rename_button, self.remove_button, self.again_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.show_button)
        left = QVBoxLayout()
        left.addWidget(heading(self.tr("Files")))
        left.addWidget(self.files, 1)
        left.addLayout(buttons)
        folder = QHBoxLayout()
        folder.addWidget(self.folder_text, 1)
        folder.addWidget(self.folder_button)
        left.addWidget(heading(self.tr("Folder")))
        left.addLayout(folder)
        left.addWidget(self.controls["overwrite"].widget)
        choices = QWidget()
        right = QVBoxLayout(choices)
        right.setContentsMargins(12, 0, 8, 8)
        right.setSpacing(6)
        drawn = QGridLayout()
        drawn.addWidget(self.attention, 0, 0)
        drawn.addWidget(self.probe, 1, 0)
        self._add_section(right, self.tr("Picture"), [(self.tr("Kind"), self.picture), "size"], drawn)
        self._add_section(right, self.tr("Range"), [("start", self.here), ("duration", self.to_here)], None)
        formats = QGridLayout()
        for number, box in enumerate((*self.formats.values(), self.controls["angles"].widget)):
            formats.addWidget(box, number, 0)
        self._add_section(right, self.tr("Data"), [], formats)
        right.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(choices)
        area.setFixedWidth(320)
        columns = QHBoxLayout()
        columns.setSpacing(16)
        columns.addLayout(left, 1)
        columns.addWidget(area)
        ends = QHBoxLayout()
        ends.addWidget(self.note, 1)
        for button in (self.cancel_button, self.close_button, self.export_button):
            ends.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(columns, 1)
        layout.addLayout(ends)

    def _add_section(self, column: QVBoxLayout, title: str, lines: list[Any], below: Any) -> None:
        """A heading, lines of a name and a control (of an option by its name, perhaps with a button), and the rest."""
        column.addWidget(heading(title))
        form = QFormLayout()
        labels = {item.name: item.control.label for item in options_of(Options, Place.EXPORT) if item.control}
        for line in lines:
            name, beside = line if isinstance(line, tuple) else (line, None)
            if name not in labels:
                form.addRow(name, beside)
                continue
            row = QHBoxLayout()
            row.addWidget(self.controls[name].widget, 1)
            if beside is not None:
                row.addWidget(beside)
            form.addRow(self.tr(labels[name]), row)
        if lines:
            column.addLayout(form)
        if below is not None:
            column.addLayout(below)

    # --- the files --------------------------------------------------------------------------------------------------

    def open_for_source(self) -> None:
        """Show the dialog with the open source in the list."""
        now = self._now()
        has_end = now is not None and not now.info.is_live and not now.info.read_once
        if (
            now is not None
            and has_end
            and not any(isinstance(one, _New) and one.text == now.text for _item, one in self._rows)
        ):
            self._add(_New(text=now.text, info=now.info))
        self.refresh()
        self.show()
        self.raise_()
        self.activateWindow()

    def add_files(self, files: list[str]) -> None:
        """Add files by path; those that are in the list already are left out."""
        listed = {one.text for _item, one in self._rows if isinstance(one, _New)}
        for file in dict.fromkeys(files):
            if file not in listed:
                self._add(_New(text=file, info=info_of(file)))
        self.refresh()

    def _add(self, new: _New) -> None:
        self._infos[new.text] = new.info
        names = {
            item.text(_NAME)
            for item, one in self._rows
            if isinstance(one, _New) or one.outputs or one.state in ("waiting", "running")
        }
        stem = stem_of(new.info)
        name = next(name for name in (stem, *(f"{stem}_{n}" for n in range(2, 10_000))) if name not in names)
        item = QTreeWidgetItem([Path(shown(new.text)).name or shown(new.text), name, ""])
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        item.setToolTip(_SOURCE, shown(new.text))
        self.files.addTopLevelItem(item)
        self._rows.append((item, new))

    def _ask_files(self) -> None:
        title, kinds = self.tr("Files to export"), self.tr("Videos and photos ({kinds})").format(kinds=MEDIA)
        files, _kind = QFileDialog.getOpenFileNames(self, title, self._settings.last_folder, kinds)
        if files:
            self._settings.last_folder = str(Path(files[0]).parent)
            self.add_files(files)

    def _rename(self) -> None:
        for item in self.files.selectedItems():
            self._edit(item, _NAME)

    def _edit(self, item: QTreeWidgetItem, column: int) -> None:
        """Only names of files that are not written yet can be changed."""
        if column == _NAME and isinstance(self._of(item), _New):
            self.files.editItem(item, _NAME)

    def _of(self, item: QTreeWidgetItem) -> _New | ExportItem | None:
        return next((one for row, one in self._rows if row is item), None)

    def remove(self) -> None:
        """Take the chosen files out of the list; those of the queue are cancelled first, and stay to show it."""
        for item in self.files.selectedItems():
            one = self._of(item)
            if isinstance(one, ExportItem) and one.state in ("waiting", "running"):
                self._queue.cancel(one)
                continue
            self._rows = [row for row in self._rows if row[0] is not item]
            self.files.takeTopLevelItem(self.files.indexOfTopLevelItem(item))
        self.refresh()

    def again(self) -> None:
        """Put the chosen files that have ended into the list once more."""
        for item in self.files.selectedItems():
            one = self._of(item)
            if isinstance(one, ExportItem) and one.has_ended:
                self._add(_New(text=one.request.text, info=self._infos[one.request.text]))
        self.refresh()

    def _show_in_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.shown_folder())))

    def shown_folder(self) -> Path:
        """The folder of what was chosen in the list and is written, else the one that is chosen for new files."""
        written = [one for item in self.files.selectedItems() if isinstance(one := self._of(item), ExportItem)]
        outputs = [path for one in written for path in one.outputs]
        return outputs[0].parent if outputs else self.folder

    # --- the choices ------------------------------------------------------------------------------------------------

    def _from_here(self) -> None:
        now = self._now()
        if now is not None:
            # Down: a file is read from the first frame at or after a time, which then is the one that is shown.
            self.controls["start"].show(math.floor(now.position_s * 100 + _TICK) / 100)

    def _until_here(self) -> None:
        now = self._now()
        if now is not None:
            length_s = max(0.0, now.position_s - (self.controls["start"].value() or 0.0))
            self.controls["duration"].show(math.floor(length_s * 100 + _TICK + 1) / 100)  # with the frame itself

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Folder for exports"), str(self.folder))
        if name:
            self.set_folder(Path(name))

    def set_folder(self, folder: Path) -> None:
        """Write to another folder, from now on and in the next run."""
        self.folder = folder
        self._settings.set_text("export_folder", str(folder))
        self.refresh()

    @property
    def _suffixes(self) -> list[str]:
        return [suffix for suffix in POSES_SUFFIXES if self.formats[suffix].isChecked()]

    @property
    def _wants_maps(self) -> bool:
        return self.formats[_MAPS_SUFFIX].isChecked()

    def requests(self) -> list[tuple[QTreeWidgetItem, ExportRequest]]:
        """What the choices make of each new file."""
        now = self._now()
        new = [(item, one) for item, one in self._rows if isinstance(one, _New)]
        return [] if now is None else [(item, self._request(now, one, item.text(_NAME))) for item, one in new]

    def _request(self, now: WindowState, new: _New, name: str) -> ExportRequest:
        kind = self.picture.currentIndex()
        suffix = "" if new.info.path is not None and new.info.path.is_dir() else resolve_output(new.info, None).suffix
        base = self.folder / name
        values = {item.name: getattr(now.pipeline, item.name) for item in options_of(PoseOptions)}
        values |= {name: control.value() for name, control in self.controls.items()}
        if new.info.kind == "photos":
            values |= {"start": None, "duration": None}
        options = Options(
            **values,
            output=Path(NO_PICTURES) if kind == _NO_PICTURE else base.with_name(f"{name}_pose{suffix}"),
            poses=tuple(str(base.with_name(f"{name}_poses{suffix}")) for suffix in self._suffixes),
            attention_maps=base.with_name(f"{name}_attention{_MAPS_SUFFIX}") if self._wants_maps else None,
        )
        overlay = RAW if kind == _RAW else now.overlay
        if not self.attention.isChecked():
            overlay = replace(overlay, attention=None)
        if options.angles and kind == _WITH_OVERLAY:
            overlay = replace(overlay, angles=True)
        probes = now.probes if self.probe.isChecked() and kind == _WITH_OVERLAY and new.text == now.text else None
        return ExportRequest(text=new.text, options=options, overlay=overlay, probes=probes)

    def export(self) -> None:
        """Put the new files into the queue."""
        made = self.requests()
        added = self._queue.add(*(request for _item, request in made))
        begun = {id(item): one for (item, _request), one in zip(made, added, strict=True)}
        for item, _request in made:
            item.setFlags(Qt.ItemFlags(Qt.ItemFlag.ItemIsEnabled) | Qt.ItemFlag.ItemIsSelectable)
        self._rows = [(item, begun.get(id(item), one)) for item, one in self._rows]
        self.refresh()

    # --- what is shown ----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the state of each file, and what can be done."""
        for item, one in self._rows:
            if isinstance(one, ExportItem):
                item.setText(_STATE, self._state(one))
                item.setToolTip(_STATE, in_window_words(one.error) or "\n".join(map(str, one.outputs)))
        self.folder_text.setText(str(self.folder))
        now = self._now()
        draws = self.picture.currentIndex() == _WITH_OVERLAY
        tinted = "" if now is None else now.attention
        self.attention.setText(self.tr("Attention map ({name})").format(name=tinted or self.tr("none is shown")))
        self.attention.setEnabled(draws and bool(tinted))
        self.probe.setText(self._probe_text(now))
        self.probe.setEnabled(draws and now is not None and now.probes is not None)
        self.controls["size"].widget.setEnabled(self.picture.currentIndex() != _NO_PICTURE)
        for button in (self.here, self.to_here):
            button.setEnabled(now is not None and now.info.kind != "photos")
        chosen = [self._of(item) for item in self.files.selectedItems()]
        self.rename_button.setEnabled(any(isinstance(one, _New) for one in chosen))
        self.remove_button.setEnabled(bool(chosen))
        self.again_button.setEnabled(any(isinstance(one, ExportItem) and one.has_ended for one in chosen))
        self.cancel_button.setEnabled(self._queue.running is not None)
        why_not = self._why_not(now)
        self.export_button.setEnabled(not why_not)
        self.note.setText(why_not)

    def _probe_text(self, now: WindowState | None) -> str:
        if now is None or now.probes is None:
            return self.tr("Probe (none is on a person)")
        return self.tr("Probe, from {time} on").format(time=clock(now.probes.from_s))

    def _why_not(self, now: WindowState | None) -> str:
        new = [item.text(_NAME) for item, one in self._rows if isinstance(one, _New)]
        if now is None:
            return self.tr("Nothing is open whose settings could be used.")
        if not new:
            return self.tr("All files of the list are in the queue or done.") if self._rows else self.tr("Add files.")
        if self.picture.currentIndex() == _NO_PICTURE and not self._suffixes and not self._wants_maps:
            return self.tr("Neither a picture nor data are chosen.")
        if len(set(new)) < len(new) or not all(name.strip() and Path(name).name == name for name in new):
            return self.tr("Each file needs a name of its own, without a folder.")
        return ""

    def _state(self, item: ExportItem) -> str:
        size = f" · {_amount(item.size_bytes)}" if item.outputs else ""
        if item.state == "running":
            parts = [self.tr("opening…") if item.total is None and not item.done else ""]
            parts += [] if item.percent is None else [f"{item.percent} %"]
            parts += [] if item.left_s is None else [self.tr("{time} left").format(time=clock(item.left_s)[:-2])]
            return " · ".join(part for part in parts if part)
        words = {
            "waiting": self.tr("waiting"),
            "done": self.tr("done") + size,
            "failed": self.tr("failed: {why}").format(why=in_window_words(item.error)),
            "cancelled": self.tr("cancelled") + size,
        }
        return words[item.state]


def _amount(size_bytes: int) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= least:
            return f"{size_bytes / least:.1f} {unit}"
    return f"{size_bytes / 1e3:.0f} kB"
