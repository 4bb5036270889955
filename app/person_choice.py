"""The chosen person, whom all panels that show one person have in common."""

from __future__ import annotations

from PyQt5.QtCore import QObject, pyqtSignal

from app.live.chosen import Chosen
from app.live.composer import Picture
from app.people import probed_person
from engine.types import Poses

_ABSENT_S = 1.0
"""After that somebody else is shown, unless the person was chosen by the user."""


class PersonChoice(QObject):
    """Who was clicked, in the video or in the table, or is followed; before that somebody who is there, and stays so.

    Signals:
        changed: another person is chosen.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.chosen = Chosen()
        self._by_user = False
        self._probed_id: int | None = None
        self._source = 0  # serial of the source whose ids these are
        self._seen_s = 0.0

    def choose(self, poses: Poses, person: int) -> None:
        """Choose the person with this index, in the pictures that come, too."""
        self._by_user = True
        self._set(Chosen.of(poses, person))

    def take(self, picture: Picture) -> None:
        """Note who is in a picture; called by panels that are on the screen, and for nobody else."""
        shown = picture.shown
        if shown.result is None:
            return
        poses, time_s = shown.result.poses, shown.shot.frame.timestamp_s
        if shown.shot.serial != self._source:
            self._source, self._by_user, self._probed_id = shown.shot.serial, False, None
            self._set(Chosen())
        self._take_probed(picture, poses)
        if poses.followed is not None:
            if len(poses):
                self._set(Chosen.of(poses, 0))
        elif self.chosen.track_id is None and poses.track_ids is not None and len(poses):
            self._set(Chosen.of(poses, min(self.chosen.row, len(poses) - 1)))
        if self.chosen.person_in(poses) is not None:
            self._seen_s = time_s
        elif not self._by_user and len(poses) and time_s - self._seen_s > _ABSENT_S:
            self._set(Chosen.of(poses, 0))

    def _take_probed(self, picture: Picture, poses: Poses) -> None:
        """Choose the person whom the probe was set on."""
        person = probed_person(picture)
        number = None if person is None or poses.track_ids is None else int(poses.track_ids[person])
        if person is not None and number is not None and number != self._probed_id:
            self.choose(poses, person)
        if number is not None or not picture.probe_set:
            self._probed_id = number

    def _set(self, chosen: Chosen) -> None:
        is_other = chosen.track_id != self.chosen.track_id or (chosen.track_id is None and chosen != self.chosen)
        self.chosen = chosen
        if is_other:
            self.changed.emit()
