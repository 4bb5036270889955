"""Which person of a picture the panels show."""

from __future__ import annotations

from dataclasses import dataclass

from engine.types import Poses


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One person: by id, or without ids by the place among the people.

    Attributes:
        track_id: None where nobody was chosen yet, or people have no ids.
        row: place among the people, from 0.
    """

    track_id: int | None = None
    row: int = 0

    @classmethod
    def of(cls, poses: Poses, person: int) -> Chosen:
        """The person with this index."""
        return cls(track_id=None if poses.track_ids is None else int(poses.track_ids[person]), row=person)

    def person_in(self, poses: Poses | None) -> int | None:
        """Index of the person among others; None if they are not there."""
        if poses is None or len(poses) == 0:
            return None
        if poses.track_ids is None or self.track_id is None:
            return min(self.row, len(poses) - 1)
        same = (poses.track_ids == self.track_id).nonzero()[0]
        return int(same[0]) if len(same) else None
