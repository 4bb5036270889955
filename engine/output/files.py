"""The output files of a run, what is asked for, and writing a frame to all of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from engine.artifacts.part_file import PartFile, check_writable
from engine.artifacts.write_guard import check_targets
from engine.errors import OptionError, OutputError
from engine.output.maps_writer import MapsWriter, check_maps_path
from engine.output.part_writer import PartWriter
from engine.output.poses_writer import Extra, PosesWriter, check_poses_path
from engine.output.video_writer import VideoWriter
from engine.overlay.attention import AttentionSheet
from engine.overlay.drawing import OverlayOptions
from engine.skeleton import Skeleton
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.inputs import source_files
from engine.sources.photos import WRITABLE_SUFFIXES, photos_in, write_photo
from engine.sources.requests import distinct_names
from engine.types import FrameResult, UInt8Array

DEFAULT_FOLDER = Path("outputs")
_LONGEST_STEM = 220
"""Bytes of a file name that leave room for suffixes; file systems allow 255."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to write, and its limits.

    Attributes:
        output: video, photo or folder to write; None for `outputs/<name>_pose.mp4` and the like.
        pictures: whether a video, photo or folder is written at all, and frames are drawn.
        poses: `.jsonl`, `.csv` or `.json` files.
        extras: what the poses carry beside keypoints.
        attention_maps: `.npz` file for the maps as numbers; None for none.
        overwrite: existing files may be replaced.
        max_frames: stop after this many frames.
        start_s: begin this many seconds after the start of the source; poses keep the frames and times of the source.
        duration_s: stop after this many seconds of the source.
        overlay: what is drawn on the frames.
        sheet: the maps of all keypoints beside each other, in place of the overlay; None for the overlay.
        shorter_px: length of the shorter side of what is written where the source is larger; poses keep its pixels.
        quiet: no progress output.
        overlap: read, process and write concurrently; False for one thread.
    """

    output: Path | None = None
    pictures: bool = True
    poses: Sequence[Path] = ()
    extras: frozenset[Extra] = frozenset()
    attention_maps: Path | None = None
    overwrite: bool = False
    max_frames: int | None = None
    start_s: float | None = None
    duration_s: float | None = None
    overlay: OverlayOptions = field(default_factory=OverlayOptions)
    sheet: AttentionSheet | None = None
    shorter_px: int | None = None
    quiet: bool = False
    overlap: bool = True

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise OptionError(f"the number of frames must be 1 or more, not {self.max_frames}")
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise OptionError(f"the duration must be above 0 seconds, not {self.duration_s}")
        if self.start_s is not None and not 0 <= self.start_s < float("inf"):
            raise OptionError(f"the start must be 0 seconds or more, not {self.start_s}")
        if self.shorter_px is not None and self.shorter_px < 2:
            raise OptionError(f"a picture needs 2 px or more on its shorter side, not {self.shorter_px}")


def _shortened(stem: str) -> str:
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the name is too long: the error is reported at the write
        return False


def _stem(info: SourceInfo) -> str:
    """File name for the output of a source, without a suffix."""
    if info.path is not None:
        return f"{_shortened(info.path.name if info.path.is_dir() else info.path.stem)}_pose"
    name = info.name.split("://", 1)[-1]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'stream'}_pose"


def resolve_output(info: SourceInfo, output: Path | None) -> Path:
    """The file (for a folder of photos: the folder) that a run writes its images to.

    Raises:
        OptionError: the name does not fit the kind of output.
    """
    photo = info.path if info.kind == "photos" else None
    if info.photos or (photo is not None and photo.is_dir()):
        if output is not None and not _is_folder(output) and output.suffix:
            what = "several photos are written" if info.photos else "the source is a folder of photos"
            raise OptionError(f"{what}: --output must name a folder, not {output}")
        return output or (DEFAULT_FOLDER if info.photos else DEFAULT_FOLDER / _stem(info))
    if photo is not None:
        suffixes, what = list(WRITABLE_SUFFIXES), "a photo"
        own = photo.suffix.lower() if photo.suffix.lower() in suffixes else ".png"
    else:
        suffixes, what, own = [".mp4"], "an MP4 video", ".mp4"
    if output is None or _is_folder(output) or not output.suffix:
        return (output or DEFAULT_FOLDER) / f"{_stem(info)}{own}"
    if output.suffix.lower() not in suffixes:
        raise OptionError(f"{what} is written: --output must end with {' or '.join(suffixes)}, not {output.suffix}")
    return output


def photo_targets(info: SourceInfo, output: Path) -> dict[Path, Path]:
    """For each photo of a source its output file; all are different."""
    if info.path is not None and not info.path.is_dir():
        return {info.path: output}
    targets: dict[Path, Path] = {}
    taken: set[Path] = set()
    for photo in info.photos if info.path is None else photos_in(info.path):
        suffix = photo.suffix.lower() if photo.suffix.lower() in WRITABLE_SUFFIXES else ".png"
        stem, number = _shortened(photo.stem), 2
        target = output / f"{stem}_pose{suffix}"
        if target in taken:  # a.png and a.ppm
            target = output / f"{stem}_{photo.suffix[1:].lower()}_pose{suffix}"
        while target in taken:  # long names may be equal after shortening
            target, number = output / f"{stem}_{number}_pose{suffix}", number + 1
        targets[photo] = target
        taken.add(target)
    return targets


class PhotosWriter:
    """Writes one image file per photo, each atomically."""

    def __init__(self, targets: Mapping[Path, Path], *, overwrite: bool, inputs: Sequence[Path]) -> None:
        """Check all targets before any is written.

        Raises:
            OutputError: one exists already, or is the input, or the folder cannot be written.
        """
        self._targets = dict(targets)
        self._overwrite = overwrite
        check_targets(self._targets.values(), overwrite=overwrite, inputs=inputs)
        for target in {target.parent: target for target in self._targets.values()}.values():
            check_writable(target)  # reported before the first inference
        self.written: list[Path] = []

    def write(self, image_bgr: UInt8Array, photo: Path | None) -> None:
        """Write the image of one photo.

        Raises:
            OutputError: it cannot be written.
        """
        if photo is None or photo not in self._targets:
            raise OutputError(f"the photo {photo} was added to its folder during the run and has no output")
        part = PartFile(self._targets[photo], overwrite=self._overwrite)
        try:
            write_photo(part.path, image_bgr, part.final.suffix)
        except OutputError:
            part.discard()
            raise
        self.written.append(part.commit())


class RunFiles:
    """All files of one run. Each frame goes to every file; on an error no file gets its final name.

    Attributes:
        kept_frames: after `abort`, the frames in the video and the maps that were kept; None without either.
    """

    def __init__(self, source: FrameSource, skeleton: Skeleton, options: ExportOptions) -> None:
        """Check and reserve all targets.

        Raises:
            OptionError: a name does not fit the kind of output.
            OutputError: a target exists, is an input, or cannot be written.
        """
        self._source = source
        info, pictures, overwrite = source.info, options.pictures, options.overwrite
        target = resolve_output(info, options.output if pictures else None)
        inputs = (*source_files(info.path), *info.photos)
        self._names = distinct_names(info.photos)
        for path in options.poses:
            check_poses_path(path)
        if options.attention_maps is not None:
            check_maps_path(options.attention_maps)
        photos = info.kind == "photos"
        video = target if pictures and not photos else None
        check_targets([video, *options.poses, options.attention_maps], overwrite=overwrite, inputs=inputs)
        if pictures and info.path is not None and info.path.is_dir() and target.resolve() == info.path.resolve():
            raise OutputError(f"the output {target} is the input itself: name another folder")
        self._video: VideoWriter | None = None
        self._photos: PhotosWriter | None = None
        self._poses: list[PosesWriter] = []
        self._maps: MapsWriter | None = None
        self._parts: list[PartFile] = []

        def reserved(path: Path) -> PartFile:
            self._parts.append(PartFile(path, overwrite=overwrite, inputs=inputs))
            return self._parts[-1]

        try:
            if pictures and photos:
                self._photos = PhotosWriter(photo_targets(info, target), overwrite=overwrite, inputs=inputs)
            elif video is not None:
                self._video = VideoWriter(reserved(video), info, from_zero=bool(options.start_s))
            for path in options.poses:
                self._poses.append(PosesWriter(reserved(path), skeleton, photos=photos, extras=options.extras))
            if options.attention_maps is not None:
                self._maps = MapsWriter(reserved(options.attention_maps), skeleton)
        except BaseException:
            for part in self._parts:
                part.discard()
            raise
        self._first_pts: int | None = None
        self.kept_frames: int | None = None

    @property
    def audio_note(self) -> str | None:
        """One line about the audio."""
        return None if self._video is None else self._video.audio_note

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines about unfinished files of earlier runs."""
        return tuple(part.note for part in self._parts if part.note is not None)

    def time_s(self, result: FrameResult) -> float:
        """Time of a frame from the start, in seconds; for a live source, from the first written frame."""
        pts, base = result.frame.pts, self._source.info.time_base
        if pts is None or base is None:
            return result.frame.timestamp_s
        if self._first_pts is None:
            self._first_pts = pts if self._source.info.is_live else 0
        return float((pts - self._first_pts) * base)

    def write(self, result: FrameResult, image_bgr: UInt8Array) -> None:
        """Write the picture and the poses of a frame.

        Raises:
            OutputError: a file cannot be written.
        """
        frame = result.frame
        time_s = self.time_s(result)
        photo = self._source.frame_path(frame.index)
        if self._video is not None:
            pts = frame.index if frame.pts is None else frame.pts - (self._first_pts or 0)
            self._video.write(image_bgr, pts)
        if self._photos is not None:
            self._photos.write(image_bgr, photo)
        for poses in self._poses:
            poses.write(frame.index, time_s, result.poses, photo, self.photo_name(photo))
        if self._maps is not None:
            self._maps.write(result, time_s)

    def photo_name(self, photo: Path | None) -> str | None:
        """The name of a photo in poses; None for a source of no photos."""
        return None if photo is None else self._names.get(photo, photo.name)

    @property
    def writes_files(self) -> bool:
        """Whether the run writes any file."""
        return self._photos is not None or bool(self._writers())

    def _writers(self) -> list[PartWriter]:
        return [writer for writer in (self._video, *self._poses, self._maps) if writer is not None]

    def cut_off(self) -> None:
        """The source was not read to its end: the files get names that say so; each photo is whole."""
        for part in self._parts:
            part.cut_off()

    def finish(self) -> tuple[Path, ...]:
        """Close all files and give them their final names.

        Raises:
            OutputError: one cannot be written or renamed.
        """
        writers = self._writers()
        for writer in writers:
            writer.finish()
        photos = self._photos.written if self._photos is not None else []
        return (*photos, *(writer.commit() for writer in writers))

    def abort(self) -> tuple[Path, ...]:
        """End after an error; returns the non-empty part files, which are kept."""
        kept = [writer.abort() for writer in self._writers()]
        self.kept_frames = min((one.frames for one in (self._video, self._maps) if one is not None), default=None)
        return tuple(path for path in kept if path is not None)


def expected_frames(
    info: SourceInfo, max_frames: int | None, duration_s: float | None, *, start_s: float = 0.0
) -> int | None:
    """Number of frames that a run will write; None if unknown."""
    skipped = 0 if info.frame_rate is None else round(Fraction(start_s) * info.frame_rate)
    bounds = [] if info.is_live or info.frame_count is None else [max(1, info.frame_count - skipped)]
    if max_frames is not None:
        bounds.append(max_frames)
    if duration_s is not None and info.frame_rate is not None:
        bounds.append(max(1, round(Fraction(duration_s) * info.frame_rate)))
    return min(bounds, default=None)
