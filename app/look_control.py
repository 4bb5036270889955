"""How the video is drawn: overlay, mirror and probe, and when attention maps are fetched for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PyQt5.QtCore import QObject

from app.live.compose import Look
from app.live.composer import Picture
from app.live.inference import Follow
from app.live.map_grid import GridRequest
from app.live.probe import MOST_PINS, person_at
from app.live.session import Session
from app.live.shots import PersonLost, PipelineReady, SourceOpened
from app.person_choice import PersonChoice
from app.settings import Settings
from app.widgets.maps_panel import MapsPanel
from app.widgets.notices import Notices
from app.widgets.overlay_panel import OverlayPanel
from app.widgets.people_panel import PeoplePanel
from app.widgets.transport_bar import TransportBar
from app.widgets.video_view import VideoView, waiting_text
from engine.types import Poses


@dataclass(frozen=True)
class _Then:
    """Whom to follow as soon as everybody is posed again: who is at a point in frame px, else whoever was before."""

    point_xy: tuple[float, float]
    before: Follow


class LookControl(QObject):
    """Connects the overlay panel, the mirror button and clicks on the video with the session's drawing thread."""

    def __init__(
        self,
        *,
        session: Session,
        settings: Settings,
        overlay_panel: OverlayPanel,
        transport: TransportBar,
        view: VideoView,
        people_panel: PeoplePanel,
        maps_panel: MapsPanel,
        choice: PersonChoice,
        notices: Notices,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._settings, self._panel, self._people = session, settings, overlay_panel, people_panel
        self._transport, self._view, self._notices = transport, view, notices
        self._maps, self._choice = maps_panel, choice
        self._told = False
        self._then: _Then | None = None
        session.happened.connect(self._happened)
        overlay_panel.changed.connect(lambda _options: self.apply())
        overlay_panel.probe_cleared.connect(self.remove_probe)
        overlay_panel.probe_pinned.connect(self.pin_probe)
        maps_panel.wanted.connect(self.apply)
        maps_panel.keypoint_chosen.connect(overlay_panel.choose)
        choice.changed.connect(self.apply)
        transport.mirror_changed.connect(self._set_mirror)
        view.clicked.connect(self.place_probe)
        view.double_clicked.connect(self.follow)
        view.cleared.connect(self.remove_probe)
        view.zoomed.connect(session.composer.set_zoom)
        view.resized.connect(lambda width, height, ratio: session.composer.set_room((width, height), ratio))

    def _happened(self, event: object) -> None:
        match event:
            case SourceOpened():
                self._then = None
                self._view.zoom_back()
                self.apply()  # only a live source is mirrored
                self._notices.clear("lost")
            case PersonLost():
                text = self.tr("The followed person was lost; everybody is posed again.")
                self._notices.report("warning", text, subject="lost")
            case PipelineReady():
                self._maps.set_skeleton(event.skeleton, has_attention=event.has_attention)
                self._panel.set_skeleton(event.skeleton, has_attention=event.has_attention)
                self._view.set_clickable(event.has_attention)

    def apply(self) -> None:
        """Draw with the options of the overlay panel and the mirror button."""
        overlay, source = self._panel.options, self._session.source
        mirror = self._transport.mirror.isChecked() and source is not None and source.info.is_live
        self._view.scale, self._view.attention = overlay.scale, overlay.attention
        self._view.score_threshold = self._people.score_threshold = overlay.score_threshold
        self._maps.show_chosen(None if overlay.attention is None else overlay.attention.keypoint)
        self._session.composer.set_look(Look(overlay=overlay, mirror=mirror))
        self._session.composer.set_grid(self._grid())
        self._session.want_attention(self._wants_maps(has_probe=self._panel.has_probe))

    def _grid(self) -> GridRequest | None:
        """The tiles that the maps panel shows: of the kind that lies over the video, else attention."""
        room_wh, view = self._maps.tile_room_wh, self._panel.options.attention
        if room_wh is None:
            return None
        chosen = self._choice.chosen
        return GridRequest(chosen=chosen, kind="attention" if view is None else view.kind, room_wh=room_wh)

    def _wants_maps(self, *, has_probe: bool) -> bool:
        return has_probe or self._panel.options.attention is not None or self._maps.tile_room_wh is not None

    def _set_mirror(self, mirror: bool) -> None:
        self._settings.set_flag("mirror", mirror)
        self.apply()

    # --- probe ------------------------------------------------------------------------------------------------------

    def show_probe_state(self, picture: Picture) -> None:
        """Show whether the drawing thread has a probe, and its person; attention maps are fetched while it has."""
        had_probe = self._panel.has_probe
        can_pin = picture.reading is not None and len(picture.pins) < MOST_PINS
        self._panel.set_probe_state(picture.probe_set, waiting_text(picture), can_pin=can_pin)
        if picture.probe_set is not had_probe:
            self.apply()

    def place_probe(self, x: float, y: float) -> None:
        """Fix the probe to the person at a point in frame px."""
        ready = self._session.ready
        if ready is None:
            return
        if not ready.has_attention:
            text = self.tr("The probe needs attention maps, and {name} has none; kcam_ models have.")
            name = ready.description.get("pose_model")
            self._notices.report("warning", text.format(name=name), subject="probe")
            return
        self._session.want_attention(True)
        self._session.composer.place_probe((x, y))

    # --- one person -------------------------------------------------------------------------------------------------

    def follow(self, x: float, y: float) -> None:
        """Pose only the person at a point in frame px; while another is followed, go over to this one.

        Where nobody is, show all of the picture again.
        """
        poses = self._view.poses
        if poses is None:
            return
        person = person_at(poses, np.array([x, y], np.float32))
        if person is not None:
            self._follow(poses, person)
        elif self.is_following:
            # Only the followed person has been posed: who is there shows when everybody is.
            self._then = _Then((x, y), Follow.of(poses, 0) if len(poses) else Follow())
            self._session.follow(Follow())
        else:
            self._view.zoom_back()

    def _follow(self, poses: Poses, person: int) -> None:
        self.clear_probe()  # the first click of the two has set it
        self._notices.clear("lost")
        self._session.follow(Follow.of(poses, person))

    def _go_over(self) -> None:
        """Follow the person who was pointed at while another one was followed."""
        poses, then = self._view.poses, self._then
        if then is None or poses is None or poses.followed is not None:
            return
        self._then = None
        person = person_at(poses, np.array(then.point_xy, np.float32))
        if person is not None:
            self._follow(poses, person)
        else:
            self._session.follow(then.before)

    @property
    def is_following(self) -> bool:
        """Whether the shown picture has one followed person, seen in it or not."""
        return self._view.poses is not None and self._view.poses.followed is not None

    def let_go(self) -> bool:
        """Pose everybody again; False where nobody is followed."""
        if not self.is_following and self._then is None:
            return False
        self._then = None
        self._session.follow(Follow())
        return True

    def show_followed(self) -> None:
        """Say that one person only is posed, while it is so; of a picture with everybody, follow who was asked for."""
        self._go_over()
        if not self.is_following:
            self._notices.clear("follow")
        elif self._notices.of("follow") is None and not self._told:
            text = self.tr("One person is posed, the others are left out. Esc lets go.")
            self._notices.report("done", text, subject="follow", action=(self.tr("Let go"), self.let_go))
        self._told = self.is_following

    def clear_probe(self) -> None:
        """Remove the probe that a click has set."""
        self._session.composer.place_probe(None)
        self._session.want_attention(self._wants_maps(has_probe=self._session.composer.probes.has_pins))

    def remove_probe(self) -> None:
        """Remove the probe; where there is none but pinned ones, those."""
        if not self._session.composer.probes.active.is_set:
            self._session.composer.pin_probe(False)
        self.clear_probe()

    def pin_probe(self) -> None:
        """Keep the probe where it is: the next click sets another."""
        self._session.composer.pin_probe(True)

    def probe_next(self) -> None:
        """Fix the probe to the chosen keypoint of the next person, for use by keyboard."""
        picture, poses = self._view.picture, self._view.poses
        if picture is None or poses is None or len(poses) == 0:
            return
        person = 0
        if picture.reading is not None:
            distances = np.abs(poses.keypoints_xy - picture.reading.keypoints_xy).sum(axis=(1, 2))
            person = (int(distances.argmin()) + 1) % len(poses)
        keypoint = min(self._panel.keypoint, poses.keypoints_xy.shape[1] - 1)
        box = poses.boxes_xyxy[person]
        x, y = np.clip(poses.keypoints_xy[person, keypoint], box[:2] + 1, box[2:] - 1)
        self.place_probe(float(x), float(y))
