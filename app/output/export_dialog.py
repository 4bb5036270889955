"""The export dialog: which files, what of them is written, where to, and how far each is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PyQt5.QtCore import Qt, QUrl
from PyQt5.QtGui import QDesktopServices
from PyQt5.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from app.output.export_job import ExportProbes, ExportRequest
from app.output.export_queue import ExportItem, ExportQueue
from app.output.folder_choice import FolderChoice
from app.settings import Settings
from app.widgets.option_controls import OptionControl, make_control
from app.widgets.parts import faint, heading, in_column, in_row, push_button, scrolled
from app.widgets.source_menu import MEDIA
from app.widgets.transport_bar import clock
from app.wording import in_window_words
from engine.artifacts.unfinished import is_held
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


class _Row(QTreeWidgetItem):
    """A file of the list.

    Attributes:
        source, info: what is exported.
        item: in the queue; None for a file that is not in it yet.
    """

    def __init__(self, source: str, info: SourceInfo, name: str) -> None:
        super().__init__([Path(shown(source)).name or shown(source), name, ""])
        self.source, self.info = source, info
        self.item: ExportItem | None = None
        self.setFlags(self.flags() | Qt.ItemFlag.ItemIsEditable)
        self.setToolTip(_SOURCE, shown(source))

    @property
    def name(self) -> str:
        """What the names of its files begin with."""
        return self.text(_NAME)

    @property
    def has_ended(self) -> bool:
        """Whether it was exported, or that failed."""
        return self.item is not None and self.item.has_ended


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
        """Make the dialog.

        Args:
            now: what the window shows; None where nothing can be exported.
            folder: where files go unless another was chosen before.
        """
        super().__init__(parent)
        self.setWindowTitle(self.tr("Export"))
        self._queue, self._settings, self._now = queue, settings, now
        path = Path(settings.text("export_folder") or folder).resolve()
        self.folder = FolderChoice(path, self.tr("Folder for exports"))
        self.folder.changed.connect(lambda chosen: settings.set_text("export_folder", str(chosen)))
        self._rows: list[_Row] = []
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
        self.files.itemChanged.connect(lambda _row, column: self.refresh() if column == _NAME else None)
        self.add_button = push_button(self.tr("Add files…"), self._ask_files)
        self.remove_button = push_button(self.tr("Remove"), self.remove)
        self.rename_button = push_button(self.tr("Rename"), self._rename)
        self.show_button = push_button(self.tr("Show in folder"), self._show_in_folder)
        tip = self.tr("The same file once more, with the choices on the right")
        self.again_button = push_button(self.tr("Again"), self.again, tip)

    def _make_choices(self) -> None:
        self._labels: dict[str, str] = {}
        for item in options_of(Options, Place.EXPORT):
            assert item.control is not None  # noqa: S101 - options of the dialog have one
            control = self.controls[item.name] = make_control(item, item.control, self.tr)
            control.show(item.default)
            self._labels[item.name] = self.tr(item.control.label)
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
        tip = self.tr("From the picture that the window shows")
        self.here = push_button(self.tr("Here"), self._from_here, tip)
        tip = self.tr("To the picture that the window shows")
        self.to_here = push_button(self.tr("To here"), self._until_here, tip)
        self.note = faint("")
        self.export_button = push_button(self.tr("Export"), self.export)
        self.export_button.setObjectName("primary")
        self.export_button.setDefault(True)
        self.cancel_button = push_button(self.tr("Cancel all"), self._queue.cancel_all)
        self.close_button = push_button(self.tr("Close"), self.hide)
        self.picture.currentIndexChanged.connect(lambda _index: self.refresh())
        for box in self.formats.values():
            box.toggled.connect(lambda _on: self.refresh())

    def _lay_out(self) -> None:
        buttons = (self.add_button, self.rename_button, self.remove_button, self.again_button)
        left = in_column(
            heading(self.tr("Files")),
            (self.files, 1),
            in_row(*buttons, 1, self.show_button),
            heading(self.tr("Folder")),
            self.folder,
            self.controls["overwrite"].widget,
        )
        kinds, times = QFormLayout(), QFormLayout()
        kinds.addRow(self.tr("Kind"), self.picture)
        self._add_line(kinds, "size")
        self._add_line(times, "start", self.here)
        self._add_line(times, "duration", self.to_here)
        choices = QWidget()
        in_column(
            heading(self.tr("Picture")),
            kinds,
            in_column(self.attention, self.probe),
            heading(self.tr("Range")),
            times,
            heading(self.tr("Data")),
            in_column(*self.formats.values(), self.controls["angles"].widget),
            1,
            of=choices,
            margins=(12, 0, 8, 8),
            spacing=6,
        )
        area = scrolled(choices)
        area.setFixedWidth(320)
        ends = in_row((self.note, 1), self.cancel_button, self.close_button, self.export_button)
        in_column((in_row((left, 1), area, spacing=16), 1), ends, of=self)

    def _add_line(self, form: QFormLayout, name: str, *beside: QPushButton) -> None:
        """The name and the control of an option, and what stands beside it."""
        form.addRow(self._labels[name], in_row((self.controls[name].widget, 1), *beside))

    # --- the files --------------------------------------------------------------------------------------------------

    def open_for_source(self) -> None:
        """Show the dialog with the open source in the list."""
        now = self._now()
        if now is not None and not now.info.is_live and not now.info.read_once:
            self._add_new(now.text, now.info)
        self.refresh()
        self.show()
        self.raise_()
        self.activateWindow()

    def add_files(self, files: list[str]) -> None:
        """Add files by path; those that are in the list already are left out."""
        for file in files:
            self._add_new(file, info_of(file))
        self.refresh()

    @property
    def _new(self) -> list[_Row]:
        return [row for row in self._rows if row.item is None]

    @property
    def _chosen(self) -> list[_Row]:
        return [row for row in self._rows if row.isSelected()]

    def _add_new(self, source: str, info: SourceInfo) -> None:
        if all(row.source != source for row in self._new):
            self._add(source, info)

    def _add(self, source: str, info: SourceInfo) -> None:
        """Add a file, under a name that no other has."""
        names = {row.name.casefold() for row in self._rows if not row.has_ended or (row.item and row.item.outputs)}
        stem = stem_of(info)
        names_to_try = (stem, *(f"{stem}_{n}" for n in range(2, 10_000)))
        name = next(name for name in names_to_try if name.casefold() not in names)
        self._rows.append(_Row(source, info, name))
        self.files.addTopLevelItem(self._rows[-1])

    def _ask_files(self) -> None:
        title, kinds = self.tr("Files to export"), self.tr("Videos and photos ({kinds})").format(kinds=MEDIA)
        files, _kind = QFileDialog.getOpenFileNames(self, title, self._settings.text("folder"), kinds)
        if files:
            self._settings.set_text("folder", str(Path(files[0]).parent))
            self.add_files(files)

    def _rename(self) -> None:
        for row in self._chosen:
            self._edit(row, _NAME)

    def _edit(self, row: QTreeWidgetItem, column: int) -> None:
        """Only names of files that are not written yet can be changed."""
        if column == _NAME and row in self._new:
            self.files.editItem(row, _NAME)

    def remove(self) -> None:
        """Take the chosen files out of the list; those of the queue are cancelled first, and stay to show it."""
        for row in self._chosen:
            if row.item is not None and not row.has_ended:
                self._queue.cancel(row.item)
            else:
                self._rows.remove(row)
                self.files.takeTopLevelItem(self.files.indexOfTopLevelItem(row))
        self.refresh()

    def again(self) -> None:
        """Put the chosen files that have ended into the list once more."""
        for row in self._chosen:
            if row.has_ended:
                self._add(row.source, row.info)
        self.refresh()

    def _show_in_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.shown_folder())))

    def shown_folder(self) -> Path:
        """The folder of what was chosen in the list and is written, else the one that is chosen for new files."""
        outputs = [path for row in self._chosen if row.item is not None for path in row.item.outputs]
        return outputs[0].parent if outputs else self.folder.path

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

    @property
    def _suffixes(self) -> list[str]:
        return [suffix for suffix in POSES_SUFFIXES if self.formats[suffix].isChecked()]

    @property
    def _wants_maps(self) -> bool:
        return self.formats[_MAPS_SUFFIX].isChecked()

    def requests(self) -> list[ExportRequest]:
        """What the choices make of each new file."""
        now = self._now()
        return [] if now is None else [self._request(now, row) for row in self._new]

    def _request(self, now: WindowState, new: _Row) -> ExportRequest:
        kind = self.picture.currentIndex()
        suffix = "" if new.info.path is not None and new.info.path.is_dir() else resolve_output(new.info, None).suffix
        name, base = new.name, self.folder.path / new.name
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
        probes = now.probes if self.probe.isChecked() and kind == _WITH_OVERLAY and new.source == now.text else None
        return ExportRequest(text=new.source, options=options, overlay=overlay, probes=probes)

    def export(self) -> None:
        """Put the new files into the queue."""
        requests = self.requests()
        if requests:
            new = self._new
            for row, item in zip(new, self._queue.add(*requests), strict=True):
                row.item = item
                row.setFlags(Qt.ItemFlags(Qt.ItemFlag.ItemIsEnabled) | Qt.ItemFlag.ItemIsSelectable)
        self.refresh()

    # --- what is shown ----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the state of each file, and what can be done."""
        for row in self._rows:
            if row.item is not None:
                row.setText(_STATE, self._state(row.item))
                row.setToolTip(_STATE, in_window_words(row.item.error) or "\n".join(map(str, row.item.outputs)))
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
        chosen = self._chosen
        self.rename_button.setEnabled(any(row.item is None for row in chosen))
        self.remove_button.setEnabled(bool(chosen))
        self.again_button.setEnabled(any(row.has_ended for row in chosen))
        self.cancel_button.setEnabled(self._queue.running is not None)
        why_not = self._why_not(now)
        self.export_button.setEnabled(not why_not)
        self.note.setText(why_not)

    def _probe_text(self, now: WindowState | None) -> str:
        if now is None or now.probes is None:
            return self.tr("Probe (none is on a person)")
        return self.tr("Probe, from {time} on").format(time=clock(now.probes.from_s))

    def _why_not(self, now: WindowState | None) -> str:
        new = [row.name for row in self._new]
        taken = [row.name.casefold() for row in self._rows if not row.has_ended]  # some file systems have one case
        if now is None:
            return self.tr("Nothing is open whose settings could be used.")
        being_written = next((row.text(_SOURCE) for row in self._new if _is_being_written(row.info.path)), None)
        if being_written is not None:
            return self.tr("{name} is still being written.").format(name=being_written)
        if not new:
            return self.tr("All files of the list are in the queue or done.") if self._rows else self.tr("Add files.")
        if self.picture.currentIndex() == _NO_PICTURE and not self._suffixes and not self._wants_maps:
            return self.tr("Neither a picture nor data are chosen.")
        if len(set(taken)) < len(taken) or not all(name.strip() and Path(name).name == name for name in new):
            return self.tr("Each file needs a name of its own, without a folder.")
        return ""

    def _state(self, item: ExportItem) -> str:
        size = f" · {_amount(item.size_bytes)}" if item.outputs else ""
        if item.state == "running":
            begun = self.tr("{count} frames").format(count=item.done) if item.done else self.tr("opening…")
            parts = [begun if item.percent is None else f"{item.percent} %"]
            parts += [] if item.left_s is None else [self.tr("{time} left").format(time=clock(item.left_s)[:-2])]
            return " · ".join(parts)
        words = {
            "waiting": self.tr("waiting"),
            "done": self.tr("done") + size,
            "failed": self.tr("failed: {why}").format(why=in_window_words(item.error)),
            "cancelled": self.tr("cancelled") + size,
        }
        return words[item.state]


def _is_being_written(path: Path | None) -> bool:
    """Whether it is the part file of a recording or of another run, which the file dialog shows like any other."""
    return path is not None and path.stem.endswith(".part") and path.is_file() and is_held(path)


def _amount(size_bytes: int) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= least:
            return f"{size_bytes / least:.1f} {unit}"
    return f"{size_bytes / 1e3:.0f} kB"
