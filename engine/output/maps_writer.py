"""Writes attention maps as numbers: an .npz file that grows frame by frame.

For each person of each frame, in this order, there is one row in the arrays `frame` (int64), `time_s` (float64),
`person` (int64, place among the people of the frame), `id` (int64, -1 without), `box_xyxy` (4, float32, frame px) and
`map_to_frame` (2, 3, float32), the affine from px of the maps to px of the frame. The maps are one array a frame, so
that `numpy.load` reads only those that are used: `attention_000012` (N, K, h, w) float32 is S of frame 12,
`areas_000012` is G. Frames without people have none. `keypoint_names` (K) names the keypoints.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError, OutputError
from engine.output.part_writer import PartWriter, WholeWrites
from engine.overlay.attention import heatmap_to_frame
from engine.skeleton import Skeleton
from engine.types import FrameResult

_FASTEST = 1  # of the compression: G and S are mostly near 0


def check_maps_path(path: Path) -> None:
    """Refuse a name without the suffix .npz.

    Raises:
        OptionError: it ends otherwise.
    """
    if path.suffix.lower() != ".npz":
        raise OptionError(f"attention maps are written as .npz: --attention-maps must end with it, not {path.name}")


_Mark = tuple[int, int, int, int]
"""Where a file stood after whole frames: its end in bytes, and how many entries, rows and blocks it had."""


class MapsWriter(PartWriter):
    """Writes one file of attention maps. Of one that a full disk ends, the frames that fit are kept, and can be read.

    Of one whose program was killed `zip -FF` makes the directory anew.
    """

    def __init__(self, part: PartFile, skeleton: Skeleton) -> None:
        """Open the file.

        Raises:
            OptionError: another suffix than .npz.
            OutputError: the file cannot be written.
        """
        check_maps_path(part.final)
        super().__init__(part)
        self._skeleton = skeleton
        self._rows: list[tuple[int, float, int, int]] = []
        self._boxes = [np.zeros((0, 4), np.float32)]
        self._affines = [np.zeros((0, 2, 3), np.float32)]
        self._marks: list[_Mark] = []
        """Before each frame that was written."""
        try:
            self._file = WholeWrites(part.path)
        except OSError as error:
            raise self._unwritable(error) from error
        self._zip = zipfile.ZipFile(self._file, "w")
        self._is_open = True

    def write(self, result: FrameResult, time_s: float) -> None:
        """Add the maps of a frame.

        Args:
            result: with maps G and S of its people.
            time_s: from the start, in seconds.

        Raises:
            OutputError: the file cannot be written; the frames before are as they were.
        """
        mark = self._mark()
        try:
            self._add(result, time_s)
        except OSError as error:
            self._cut(mark)
            raise self._unwritable(error) from error
        self.frames += 1
        self._marks.append(mark)
        self._part.sync_soon()

    def _add(self, result: FrameResult, time_s: float) -> None:
        maps, poses, number = result.attention, result.poses, result.frame.index
        if maps is None or maps.attention is None or len(poses) == 0:
            return
        ids = np.full(len(poses), -1) if poses.track_ids is None else poses.track_ids
        self._rows += [(number, time_s, person, int(ids[person])) for person in range(len(poses))]
        self._boxes.append(poses.boxes_xyxy)
        self._affines.append(heatmap_to_frame(maps, (maps.attention.shape[3], maps.attention.shape[2])))
        self._put(f"attention_{number:06d}", maps.attention)
        if maps.areas is not None:
            self._put(f"areas_{number:06d}", maps.areas)

    def _put(self, name: str, values: np.ndarray) -> None:
        data = io.BytesIO()
        np.lib.format.write_array(data, np.ascontiguousarray(values), allow_pickle=False)
        entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980: a clock that is wrong may have a year that no zip holds
        self._zip.writestr(entry, data.getbuffer(), zipfile.ZIP_DEFLATED, _FASTEST)

    def _mark(self) -> _Mark:
        return self._zip.start_dir, len(self._zip.filelist), len(self._rows), len(self._boxes)

    def _cut(self, mark: _Mark) -> None:
        """Take out what was written after a mark, which also makes room for the directory."""
        end, entry_count, rows, blocks = mark
        entries = self._zip.filelist[:entry_count]
        self._zip.fp = None  # or it writes a directory when it is collected
        self._file.seek(end)
        self._file.truncate(end)
        self._zip = zipfile.ZipFile(self._file, "w")  # goes on at the position of the file
        self._zip.filelist = entries
        self._zip.NameToInfo = {entry.filename: entry for entry in entries}
        del self._rows[rows:], self._boxes[blocks:], self._affines[blocks:]

    def finish(self) -> None:
        """Write the arrays of all frames and close the file."""
        if not self._is_open:
            return
        mark = self._mark()
        frames, times, people, ids = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        try:
            self._put("frame", np.array(frames, np.int64))
            self._put("time_s", np.array(times, np.float64))
            self._put("person", np.array(people, np.int64))
            self._put("id", np.array(ids, np.int64))
            self._put("box_xyxy", np.concatenate(self._boxes))
            self._put("map_to_frame", np.concatenate(self._affines))
            self._put("keypoint_names", np.array(self._skeleton.keypoint_names))
            self._zip.close()
        except OSError as error:
            self._cut(mark)
            raise self._unwritable(error) from error
        self._close()

    def _close(self) -> None:
        self._is_open = False
        self._file.close()

    def _keep_whole_frames(self) -> int:
        while self._is_open and self._marks:  # there was no room for the directory: the last frame makes some
            self._cut(self._marks.pop())
            self.frames -= 1
            with contextlib.suppress(OSError, OutputError):
                self.finish()
        if self._is_open:
            self._close()
            return 0
        return self.frames
