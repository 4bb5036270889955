"""The grid of one person's maps: all keypoints at once, drawn in the drawing thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PyQt5.QtGui import QImage

from app.live.chosen import Chosen
from app.live.compose import Look, fit
from app.live.qimages import to_qimage
from app.live.shots import Shown
from engine.overlay.attention import AttentionSheet, ValueRange
from engine.overlay.contact_sheet import contact_sheet, map_tiles, person_crop
from engine.types import UInt8Array

Kind = Literal["attention", "areas"]
_SHEET_SCALE = 2
"""Of a saved sheet: px of a person for one px that the network saw, before the sheet fits them to its width."""


@dataclass(frozen=True, kw_only=True)
class GridRequest:
    """What the grid shows.

    Attributes:
        chosen: whose maps.
        kind: as in AttentionView.
        room_wh: of a tile, in device px.
    """

    chosen: Chosen
    kind: Kind
    room_wh: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapGrid:
    """The maps of a person.

    Attributes:
        tiles: K pictures of the same size under each other, in the order of the skeleton.
        tile_wh: size of one in device px.
        values: what the colours of all tiles stand for; None where each has its own.
        kind: as in AttentionView.
        person: index among the people of the picture.
    """

    tiles: QImage
    tile_wh: tuple[int, int]
    values: ValueRange | None
    kind: Kind
    person: int


def map_grid(shown: Shown, request: GridRequest, look: Look) -> MapGrid | None:
    """The grid of the chosen person; None if they are not there or the result has no such maps."""
    result, person = shown.result, request.chosen.person_in(shown.poses)
    if result is None or result.attention is None or shown.maps(request.kind) is None or person is None:
        return None
    tile_wh = fit(result.attention.input_size_wh, request.room_wh)
    crop = person_crop(result, person, tile_wh, mirror=look.mirror)
    tiles, values = map_tiles(crop, AttentionSheet(kind=request.kind), look.overlay)
    image = to_qimage(np.concatenate(tiles))
    return MapGrid(tiles=image, tile_wh=tile_wh, values=values, kind=request.kind, person=person)


def grid_sheet(shown: Shown, grid: MapGrid, look: Look) -> UInt8Array | None:
    """The maps of a grid as one picture with names and legend, for a file; (H, W, 3) uint8 BGR."""
    result, skeleton = shown.result, shown.skeleton
    if result is None or result.attention is None or skeleton is None:
        return None
    width, height = result.attention.input_size_wh
    crop = person_crop(result, grid.person, (width * _SHEET_SCALE, height * _SHEET_SCALE), mirror=look.mirror)
    return contact_sheet(crop, skeleton, AttentionSheet(kind=grid.kind), look.overlay)
