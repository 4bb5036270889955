"""The outputs of the window: snapshots, recordings, exports and the clipboard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PyQt5.QtCore import QObject, Qt, pyqtSignal
from PyQt5.QtGui import QImage
from PyQt5.QtWidgets import QApplication, QWidget

from app.live.composer import Picture
from app.live.inference import OpenPipeline
from app.live.map_grid import grid_sheet
from app.live.qimages import to_qimage
from app.live.session import Session
from app.live.shots import Shown, Unexpected
from app.output.export_dialog import ExportDialog, WindowState
from app.output.export_job import ExportEnded, ExportJob, ExportRequest
from app.output.export_queue import ExportItem, ExportQueue
from app.output.frame_picture import frame_picture
from app.output.live_output import LiveOutput
from app.output.record_dialog import RecordDialog
from app.output.record_options import RecordOptions
from app.output.recorder import RecordedFiles, Recording, RecordingEnded
from app.people import with_angles
from app.settings import Settings
from app.widgets.notices import EXPORT, Notices
from app.widgets.parts import single_shot
from app.widgets.transport_bar import RecordingState, clock
from app.wording import in_window_words
from engine.artifacts.part_file import PartFile
from engine.artifacts.unfinished import marked, set_aside, unfinished_in
from engine.errors import EngineError, OutputError
from engine.output.files import DEFAULT_FOLDER, resolve_output
from engine.output.maps_writer import MapsWriter
from engine.output.poses_writer import POSES_SUFFIXES, Extra, PosesWriter
from engine.output.run_video import NO_PICTURES
from engine.sources.frame_source import FrameSource

_UNFINISHED_AFTER_MS = 1000
_MOST_NOTES = 3  # of one export: each photo that could not be read has one


class Outputs(QObject):
    """Runs recordings and exports, and reports them in the notices.

    Signals:
        open_requested: a result is to be opened; text of the source.
        poses_recording: whether poses are recorded.
        live_changed: address of the live poses and the page for a browser; empty where none are sent.
        record_requested: a recording is to begin.
        changed: another output can be made, or one no longer.
    """

    open_requested = pyqtSignal(str)
    poses_recording = pyqtSignal(bool)
    live_changed = pyqtSignal(str, str)
    record_requested = pyqtSignal()
    changed = pyqtSignal()
    _event = pyqtSignal(object)

    def __init__(
        self,
        *,
        session: Session,
        notices: Notices,
        open_source: Callable[[str], FrameSource],
        open_pipeline: OpenPipeline,
        report: Callable[[BaseException, str], None],
        parent: QWidget,
        folder: Path = DEFAULT_FOLDER,
    ) -> None:
        super().__init__(parent)
        self._session, self._notices, self._window = session, notices, parent
        self._open_source, self._open_pipeline, self._report = open_source, open_pipeline, report
        self.folder = folder
        self.video: Recording | None = None
        self.poses: Recording | None = None
        self.record_options = RecordOptions()
        self.record_folder: Path | None = None
        self._delay, self._limit = single_shot(self, self._begin_together), single_shot(self, self._stop_at_limit)
        for timer in (self._delay, self._limit):
            timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.exports = ExportQueue(
            open_source=open_source,
            open_pipeline=open_pipeline,
            report=report,
            shown=lambda: None if session.source is None else session.source.text,
            parent=self,
        )
        self._dialog: ExportDialog | None = None
        self._saving: list[threading.Thread] = []
        self.exports.changed.connect(self._report_export)
        self.exports.ended.connect(self._export_ended)
        self.live: LiveOutput | None = None
        session.on_shown = self._offer
        self._event.connect(self._act)
        self._closed = False
        single_shot(self, self._offer_unfinished, _UNFINISHED_AFTER_MS).start()

    def _offer(self, shown: Shown) -> None:
        """In the threads that deliver results."""
        for recording in (self.video, self.poses):
            if recording is not None:
                recording.offer(shown)
        live, source = self.live, self._session.source
        if live is not None and source is not None:
            live.offer(shown, source.info.name)

    def _target(self, suffix: str) -> Path:
        """A new file, named after source and time."""
        stem = self._free_stem(self.folder, RecordOptions().stem(self._source_stem()), (suffix,))
        return (self.folder / f"{stem}{suffix}").resolve()

    def _source_stem(self) -> str:
        source = self._session.source
        return "pose" if source is None else resolve_output(source.info, None).stem.removesuffix("_pose")

    @staticmethod
    def _free_stem(folder: Path, name: str, ends: Sequence[str]) -> str:
        """The name itself or, where one of its files exists or is being written, with a number."""
        number, stem = 1, name
        while any(path.exists() or marked(path, "part").exists() for path in (folder / f"{stem}{end}" for end in ends)):
            number += 1
            stem = f"{name}_{number}"
        return stem

    # --- pictures -------------------------------------------------------------------------------------------------

    def frame_image(self, picture: Picture) -> QImage:
        """The picture in the size of its frame, with overlay and probe."""
        return to_qimage(frame_picture(picture.shown, self._session.composer.look, picture.reading, pins=picture.pins))

    def copy(self, picture: Picture | None) -> None:
        """Put the picture on the clipboard."""
        clipboard = QApplication.clipboard()
        if picture is not None and clipboard is not None:
            clipboard.setImage(self.frame_image(picture))
            self._notices.report("done", self.tr("The frame is on the clipboard."), subject="copy")

    def copy_text(self, text: str) -> None:
        """Put a text on the clipboard."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(text)
            self._notices.report("done", self.tr("The tables are on the clipboard."), subject="copy")

    def save_people(self, picture: Picture | None, score_threshold: float) -> None:
        """Save the people of a picture as CSV, with their angles from keypoints of at least this score."""
        shown = None if picture is None else picture.shown
        if shown is None or shown.result is None or shown.skeleton is None:
            return
        shot, poses = shown.shot, with_angles(shown.result.poses, shown.skeleton, score_threshold)
        extras: tuple[Extra, ...] = ("angles",) if poses.followed is None else ("followed", "angles")
        photo, skeleton = Path(shot.name) if shot.name else None, shown.skeleton

        def make(part: PartFile) -> PosesWriter:
            return PosesWriter(part, skeleton, photos=photo is not None, extras=extras)

        self._write(".csv", make, *shot.place, poses, photo)

    def save_maps(self, picture: Picture | None) -> None:
        """Save the maps of the person whose grid a picture shows as NPZ."""
        shown, grid = (None, None) if picture is None else (picture.shown, picture.grid)
        if shown is None or grid is None or shown.result is None or shown.skeleton is None:
            return
        result, skeleton, (number, time_s) = shown.result, shown.skeleton, shown.shot.place
        one = np.array([grid.person])
        maps = None if result.attention is None else result.attention.take(one)
        alone = replace(result, frame=replace(result.frame, index=number), poses=result.poses.take(one), attention=maps)
        self._write(".npz", lambda part: MapsWriter(part, skeleton), alone, time_s)

    def save_table(self, text: str) -> None:
        """Save a text as CSV."""
        part = self._reserved(".csv")
        if part is not None:
            self._save(lambda file: file.write_text(text, encoding="utf-8"), part)

    def _reserved(self, suffix: str) -> PartFile | None:
        """A new file, which no other gets the name of; None where there can be none, which is reported."""
        try:
            return PartFile(self._target(suffix))
        except EngineError as error:
            self._act(str(error))
            return None

    def _write(self, suffix: str, make: Callable[[PartFile], Any], *content: object) -> None:
        """Write a small file with a writer, and report it; where it cannot be written nothing is left behind."""
        part = self._reserved(suffix)
        if part is None:
            return
        try:
            writer = make(part)
            try:
                writer.write(*content)
                writer.finish()
                path = writer.commit()
            except EngineError:
                writer.abort()
                raise
        except EngineError as error:
            self._act(str(error))
        else:
            self._act(path)

    def save_sheet(self, picture: Picture | None) -> None:
        """Save the maps of the grid that a picture shows as PNG."""
        if picture is not None and picture.grid is not None:
            sheet = grid_sheet(picture.shown, picture.grid, self._session.composer.look)
            if sheet is not None:
                self.save_image(to_qimage(sheet))

    def snapshot(self, picture: Picture | None) -> None:
        """Save the picture as PNG, in a thread because compression takes long."""
        if picture is not None:
            self.save_image(self.frame_image(picture))

    def save_image(self, image: QImage) -> None:
        """Save an image as PNG, in a thread, for which the end of the program waits."""
        part = self._reserved(".png")
        if part is None:
            return

        def save(file: Path) -> bool:
            return image.save(str(file), "PNG")

        thread = threading.Thread(target=self._save, args=(save, part), name="snapshot")
        self._saving = [*(other for other in self._saving if other.is_alive()), thread]
        thread.start()

    def _save(self, write: Callable[[Path], object], part: PartFile) -> None:
        """Write a file, in any thread, and report it; `write` returns False or raises an OSError where it cannot."""
        try:
            try:
                written = write(part.path) is not False
            except OSError as error:
                part.discard()
                raise OutputError(f"cannot write {part.final}: {error.strerror or error}") from error
            if written:
                self._event.emit(part.commit())
                return
            part.discard()
            self._event.emit(self.tr("The snapshot cannot be written to {path}.").format(path=part.final))
        except EngineError as error:
            self._event.emit(str(error))
        except Exception as error:
            self._event.emit(Unexpected(error=error, where="the snapshot"))

    # --- recordings -----------------------------------------------------------------------------------------------

    def toggle_video(self) -> None:
        """Start or stop recording what is chosen for the button; a recording that waits for its time is let go."""
        if self._delay.isActive():
            self._delay.stop()
        elif self.video is not None:
            self.video.stop()
        elif self.record_options.delay is not None and self._session.source is not None and not self._closed:
            self._delay.start(round(self.record_options.delay * 1000))
        else:
            self._begin_together()

    def _begin_together(self) -> None:
        options = self.record_options
        ends = {"overlay": ".mp4", "raw": "_raw.mp4", "poses": ".jsonl"}
        self.video = self._begin({kind: end for kind, end in ends.items() if getattr(options, kind)}, options)
        if self.video is not None and options.duration is not None:
            self._limit.start(round(options.duration * 1000))
        self.changed.emit()

    def _stop_at_limit(self) -> None:
        if self.video is not None:
            self.video.stop()

    def toggle_poses(self) -> None:
        """Start or stop recording poses."""
        if self.poses is not None:
            self.poses.stop()
        else:
            self.poses = self._begin({"poses": ".jsonl"}, RecordOptions(pattern=self.record_options.pattern))
        self.poses_recording.emit(self.poses is not None)

    def toggle_live(self, wanted: bool) -> None:
        """Send poses to other programs, or no longer."""
        if self.live is not None:
            self.live.close()
            self.live = None
        if wanted and not self._closed:
            try:
                self.live = LiveOutput()
            except EngineError as error:
                self._notices.report("error", str(error), subject="live poses")
        server = None if self.live is None else self.live.server
        self.live_changed.emit("" if server is None else server.address, "" if server is None else server.page)

    def _begin(self, ends: Mapping[str, str], options: RecordOptions) -> Recording | None:
        """Record to new files of these endings, by kind."""
        source = self._session.source
        if source is None or self._closed:  # a recording that starts now would never be stopped
            return None
        folder = self.record_folder or self.folder
        stem = self._free_stem(folder, options.stem(self._source_stem()), tuple(ends.values()))
        files = {kind: (folder / f"{stem}{end}").resolve() for kind, end in ends.items()}
        try:
            return Recording(
                RecordedFiles(**files),
                info=source.info,
                look=lambda: self._session.composer.look,
                probes=lambda: self._session.composer.probes,
                emit=self._event.emit,
            )
        except EngineError as error:
            self._notices.report("error", in_window_words(str(error)), subject=next(iter(ends.values())))
            return None

    @property
    def recording(self) -> RecordingState | None:
        """How far the recording is, or that of poses; None if none runs or waits."""
        if self._delay.isActive():
            return RecordingState(starts_in_s=self._delay.remainingTime() / 1000)
        recording = self.video or self.poses
        if recording is None:
            return None
        limit_s = self.record_options.duration if recording is self.video and self._limit.isActive() else None
        return RecordingState(elapsed_s=recording.elapsed_s, limit_s=limit_s, free_bytes=recording.disk_left_bytes())

    @property
    def is_recording(self) -> bool:
        """Whether the button has begun a recording that runs, or waits for its time."""
        return self.video is not None or self._delay.isActive()

    # --- what can be made now -------------------------------------------------------------------------------------

    def why_not(self, *, has_picture: bool) -> dict[str, str]:
        """Why each output cannot be made now, by the name of its command; empty where it can."""
        source = self._session.source if self._session.playback is not None else None
        picture = "" if has_picture else self.tr("There is no picture yet")
        record = "" if source is not None or self.is_recording else self.tr("Nothing is open")
        poses = "" if source is not None or self.poses is not None else self.tr("Nothing is open")
        if not poses and self.poses is None and self._session.ready is None:
            poses = self.tr("The networks do not run yet")
        return {"snapshot": picture, "copy": picture, "record": record, "poses": poses, "export": self._why_no_export()}

    def _why_no_export(self) -> str:
        source = self._session.source if self._session.playback is not None else None
        if source is None:
            return self.tr("Nothing is open")
        if source.info.is_live:
            return self.tr("A live source has no end to export to; record it instead (R)")
        if source.info.read_once:
            return self.tr("A pipe can be read only once; record it instead (R)")
        return ""

    # --- export ---------------------------------------------------------------------------------------------------

    @property
    def export_job(self) -> ExportJob | None:
        """The export that runs."""
        return self.exports.job

    def ask_recording(self, settings: Settings) -> RecordDialog:
        """Show what the record button does."""
        folder = (self.record_folder or self.folder).resolve()
        can_begin = self._session.playback is not None and not self.is_recording
        dialog = RecordDialog(
            self.record_options, folder, self._source_stem(), can_begin=can_begin, parent=self._window
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def change(options: RecordOptions) -> None:
            self.record_options = settings.record = options

        def change_folder(folder: Path) -> None:
            self.record_folder = folder
            settings.set_text("record_folder", str(folder))

        dialog.changed.connect(change)
        dialog.folder_changed.connect(change_folder)
        dialog.record_requested.connect(lambda: None if self.is_recording else self.record_requested.emit())
        dialog.show()
        return dialog

    def ask_export(self, settings: Settings, now: Callable[[], WindowState | None]) -> ExportDialog:
        """Show the export dialog; it stays with its list until the window goes."""
        if self._dialog is None:
            self._dialog = ExportDialog(self.exports, settings, now, self.folder, self._window)
        self._dialog.open_for_source()
        return self._dialog

    def _report_export(self) -> None:
        """Show how far the queue is."""
        item, waiting = self.exports.running, len(self.exports.waiting)
        if item is None:
            return
        text = self.tr("Exporting {name}").format(name=_name_of(item.request))
        if item.total is not None:
            text += self.tr(" · {done} of {total} frames").format(done=item.done, total=item.total)
        elif item.done:
            text += self.tr(" · {done} frames").format(done=item.done)
        if item.left_s is not None:
            text += self.tr(" · {time} left").format(time=clock(item.left_s).partition(".")[0])
        if waiting:
            text += self.tr(" · {count} more").format(count=waiting)
        cancel = (self.tr("Cancel all") if waiting else self.tr("Cancel"), self.exports.cancel_all)
        self._notices.report("busy", text, subject=EXPORT, action=cancel, percent=item.percent)

    def _export_ended(self, item: ExportItem, ended: ExportEnded) -> None:
        self.changed.emit()
        # While the next file of the queue has the bar, each that has ended has a message of its own.
        subject = EXPORT if self.exports.running is None else f"{EXPORT} {item.request.text}"
        if not item.outputs:
            if ended.cancelled:
                self._notices.report("done", self.tr("The export was cancelled."), subject=subject)
            else:
                text = in_window_words(ended.error) if ended.error else self.tr("The export wrote nothing.")
                self._notices.report("error", text, subject=subject)
            return
        path = item.outputs[0]
        text = (
            self.tr("Cancelled; the first {frames} frames are in {path}")
            if ended.cancelled
            else self.tr("{frames} frames written to {path}")
        )
        self._report_file(text.format(frames=item.done, path=path), path, subject)
        if ended.summary is not None and ended.summary.notes:
            notes = [in_window_words(note) for note in ended.summary.notes[:_MOST_NOTES]]
            if len(ended.summary.notes) > _MOST_NOTES:
                notes.append(self.tr("and {count} more").format(count=len(ended.summary.notes) - _MOST_NOTES))
            self._notices.report("warning", "\n".join(notes), subject=f"notes {item.request.text}")

    # --- in the GUI thread ----------------------------------------------------------------------------------------

    def _report_file(self, text: str, path: Path, subject: str) -> None:
        open_it = (self.tr("Open"), lambda: self.open_requested.emit(str(path)))
        if path.suffix in (*POSES_SUFFIXES, ".npz"):  # nothing to look at
            self._notices.report("done", text, subject=subject)
            return
        self._notices.report("done", text, subject=subject, action=open_it)

    def _act(self, event: Any) -> None:
        if isinstance(event, Unexpected):
            self._report(event.error, event.where)
        elif isinstance(event, Path):
            self._report_file(self.tr("Saved {path}").format(path=event), event, "snapshot")
        elif isinstance(event, str):
            self._notices.report("error", in_window_words(event), subject="snapshot")
        elif isinstance(event, RecordingEnded):
            self._recording_ended(event)

    def _recording_ended(self, ended: RecordingEnded) -> None:
        if ended.recording is self.video:
            self.video = None
            self._limit.stop()
        elif ended.recording is self.poses:
            self.poses = None
            self.poses_recording.emit(False)
        self.changed.emit()
        subject = ended.recording.files.paths[0].suffix
        if ended.error is not None:
            self._notices.report("error", ended.error, subject=subject)
        elif not ended.paths:
            self._notices.report("warning", self.tr("Nothing was recorded: no frame came."), subject=subject)
        else:
            text = self.tr("{frames} frames recorded in {path}").format(frames=ended.frames, path=ended.paths[0])
            if len(ended.paths) > 1:
                text += self.tr(" and {names}").format(names=", ".join(path.name for path in ended.paths[1:]))
            if ended.dropped:
                text += self.tr(" ({count} dropped: the encoder was too slow)").format(count=ended.dropped)
            self._report_file(text, ended.paths[0], subject)

    # --- unfinished files of earlier runs -------------------------------------------------------------------------

    def _offer_unfinished(self) -> None:
        """Offer once to keep unfinished files; without an answer they stay."""
        folders = {self.folder, self.record_folder or self.folder}
        found = [path for folder in sorted(folders) for path in unfinished_in(folder)]
        if found:
            text = self.tr("An earlier run was aborted: {names}").format(names=", ".join(path.name for path in found))
            keep = (self.tr("Keep"), lambda: self._keep(found))
            self._notices.report("warning", text, subject="unfinished", action=keep)

    def _keep(self, found: list[Path]) -> None:
        try:
            kept = [aside.name for path in found if (aside := set_aside(path)) is not None]
        except EngineError as error:
            self._notices.report("error", str(error), subject="unfinished")
            return
        text = self.tr("Kept as {names}").format(names=", ".join(kept))
        self._notices.report("done", text, subject="unfinished")

    # --- the end --------------------------------------------------------------------------------------------------

    def running_text(self) -> str:
        """What closing the window would end, for a question; empty where nothing runs."""
        parts = []
        item, waiting = self.exports.running, len(self.exports.waiting)
        if item is not None:
            name = _name_of(item.request)
            parts.append(self.tr("The export of {name} is not finished; what is done of it would be kept under a name"
                                 " that says so (cut-off).").format(name=name))  # fmt: skip
        if waiting:
            parts.append(self.tr("{count} more would not be exported.").format(count=waiting))
        if any(recording is not None and recording.is_running for recording in (self.video, self.poses)):
            parts.append(self.tr("A recording runs; it would end here and be kept."))
        return " ".join(parts)

    def wait(self) -> None:
        """Wait until every recording, export and snapshot is complete, however long that takes."""
        jobs = (self.video, self.poses, self.export_job, *self._saving)
        for job in jobs:
            if job is not None:
                job.join(None)

    def close(self, limit_s: float) -> None:
        """Stop everything and wait up to a limit for the files to be complete."""
        self._session.on_shown = None
        self._closed = True
        self._delay.stop()
        self._limit.stop()
        until_s = time.monotonic() + limit_s
        exporting = self.exports.close()
        running = [job for job in (self.video, self.poses) if job is not None]
        for recording in running:
            recording.stop()
        jobs: list[Recording | ExportJob | threading.Thread] = [*running, *self._saving]
        if self.live is not None:
            jobs.append(self.live.close())
            self.live = None
        if exporting is not None:
            jobs.append(exporting)
        for job in jobs:
            job.join(max(0.05, until_s - time.monotonic()))


def _name_of(request: ExportRequest) -> str:
    """The name of the first file that an export writes."""
    options = request.options
    if str(options.output) != NO_PICTURES and options.output is not None:
        return options.output.name
    return Path(options.poses[0] if options.poses else str(options.attention_maps)).name
