"""Opens the source of the window and plays it; header, transport bar and notices show its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PyQt5.QtCore import QObject

from app.live.playback import SPEEDS
from app.live.session import Session
from app.live.shots import PlaybackChanged, Shot, SignalBack, SignalLost, SourceFailed, SourceOpened
from app.qt_setup import TITLE
from app.settings import Settings
from app.widgets.header import Header
from app.widgets.notices import Notices
from app.widgets.source_menu import SourceMenu
from app.widgets.transport_bar import TransportBar
from app.widgets.video_view import VideoView
from app.widgets.welcome import Welcome
from app.wording import in_window_words
from engine.sources.addresses import shown


class SourceControl(QObject):
    """Connects the source menu and the transport bar with the session."""

    def __init__(
        self,
        *,
        session: Session,
        settings: Settings,
        menu: SourceMenu,
        header: Header,
        welcome: Welcome,
        transport: TransportBar,
        view: VideoView,
        notices: Notices,
        set_title: Callable[[str], None],
        note: Callable[[str], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._settings, self._menu = session, settings, menu
        self._header, self._welcome, self._transport = header, welcome, transport
        self._view, self._notices, self._set_title, self._note = view, notices, set_title, note
        self._wants_camera = False
        self._failed_text = ""
        session.happened.connect(self._happened)
        menu.chosen.connect(self.open)
        menu.search.finished.connect(self._cameras_listed)
        welcome.file_requested.connect(menu.ask_file)
        welcome.again_requested.connect(lambda: self.open(self._failed_text))
        welcome.demo_requested.connect(lambda: self.open("demo"))
        transport.play_toggled.connect(self.toggle_playing)
        transport.stepped.connect(self.step)
        transport.sought.connect(self.seek)
        transport.loop_changed.connect(self._set_loop)
        transport.speed_changed.connect(session.set_speed)

    def open(self, text: str) -> None:
        """Open a source; the current one is shown until the new one is open."""
        self._notices.clear("source", "signal")
        self._header.set_source(self.tr("Opening {name}…").format(name=Path(shown(text)).name or shown(text)))
        if self._view.picture is None:
            self._welcome.show_message(self.tr("Opening…"), shown(text), busy=True)
        self._session.open(text)

    def open_first_camera(self) -> None:
        """Search for cameras and open the first; without one, offer a file and the demo."""
        self._wants_camera = True
        self._menu.search_cameras()

    def _cameras_listed(self) -> None:
        if not self._wants_camera:
            return
        self._wants_camera = False
        if self._session.playback is not None or self._session.is_opening_source:
            return
        if self._menu.search.cameras:
            self.open(str(self._menu.search.cameras[0].index))
        else:
            self._offer_others(self.tr("No camera found"))

    def _offer_others(self, title: str) -> None:
        self._welcome.show_message(title, self.tr("Open a video, drop one here, or try the built-in demo."))

    # --- playing ----------------------------------------------------------------------------------------------------

    def toggle_playing(self) -> None:
        """Play or pause."""
        playback = self._session.playback
        if playback is not None:
            playback.set_playing(not playback.is_playing)
            self._transport.set_playing(playback.is_playing)

    def step(self, frames: int) -> None:
        """Pause and go this many frames forward, or back."""
        if self._session.playback is not None:
            self._session.playback.step(frames)
            self._transport.set_playing(False)

    def seek(self, position_s: float) -> None:
        """Go to a position in the file."""
        if self._session.playback is not None:
            self._session.playback.seek(position_s)

    def go_to(self, share: float) -> None:
        """Go to a place in the file: 0 is its start, 1 its end."""
        source = self._session.source
        if source is not None and not source.info.is_live and not source.info.read_once:
            self.seek(share * (source.duration_s or 0.0))

    def go_to_end(self) -> None:
        """Go to the last frame, and stay there."""
        playback, source = self._session.playback, self._session.source
        if playback is not None and source is not None and source.duration_s and not source.info.read_once:
            playback.set_playing(False)
            self._transport.set_playing(False)
            self.go_to(1.0)

    def jump(self, seconds: float) -> None:
        """Go this many seconds forward in the file, or back; of photos, to the next or the one before."""
        source = self._session.source
        if source is not None and source.info.kind == "photos":
            self.step(1 if seconds > 0 else -1)
        elif self._view.picture is not None:
            self.seek(max(0.0, self._view.picture.shown.shot.position_s + seconds))

    def change_speed(self, step: int) -> None:
        """Play one step faster or slower."""
        box = self._transport.speed
        box.setCurrentIndex(min(len(SPEEDS) - 1, max(0, box.currentIndex() + step)))

    def _set_loop(self, loop: bool) -> None:
        self._session.set_loop(loop)
        self._settings.set_flag("loop", loop)

    def why_not(self) -> dict[str, str]:
        """Why each command of playback cannot work now, by name; empty where it can."""
        source = self._session.source if self._session.playback is not None else None
        moves = ("step_on", "step_back", "forward", "backward", "start", "end", "loop", "faster", "slower")
        if source is None:
            nothing = self.tr("Nothing is open")
            return dict.fromkeys(("play", "mirror", *moves), nothing)
        is_live, back = source.info.is_live, ""
        if source.info.read_once:
            back = self.tr("A pipe is read in its order only")
        reasons = dict.fromkeys(moves, self.tr("A live source has no other frames to go to") if is_live else "")
        if back:
            reasons |= dict.fromkeys(("step_back", "forward", "backward", "start", "end", "loop"), back)
        return {**reasons, "play": "", "mirror": "" if is_live else self.tr("Only cameras and streams are mirrored")}

    def show_position(self, shot: Shot) -> None:
        """Show the place of the picture on the screen in its source, and the name of a photo."""
        self._transport.set_position(shot.position_s, shot.number)
        source = self._session.source
        if shot.name and source is not None and source.serial == shot.serial:
            height, width = shot.frame.image_bgr.shape[:2]
            self._header.show_photo(source.info, shot.name, (width, height))

    # --- events of the session --------------------------------------------------------------------------------------

    def _happened(self, event: object) -> None:
        match event:
            case SourceOpened():
                self._opened(event)
            case SourceFailed():
                self._failed(event)
            case SignalLost():
                self._view.set_badge(self.tr("Signal lost, retrying"))
                self._transport.set_lost(True)
                text = self.tr("Signal lost: {message}; trying again in {seconds:.1f} s")
                message = text.format(message=event.message, seconds=event.retry_in_s)
                self._notices.report("warning", message, subject="signal")
            case SignalBack():
                self._view.set_badge("")
                self._transport.set_lost(False)
                self._notices.clear("signal")
            case PlaybackChanged():
                self._transport.set_playing(event.playing)

    def _opened(self, event: SourceOpened) -> None:
        self._header.show_source(event.info)
        self._set_title(f"{event.info.name} – {TITLE}")
        self._view.set_badge("")
        self._transport.set_source(event)
        self._transport.set_playing(True)
        path = event.info.path
        # The next run may start in another folder.
        self._settings.add_recent(event.text if path is None else str(path.absolute()))
        self._menu.refresh()

    def _failed(self, event: SourceFailed) -> None:
        """Say why; where nothing was shown before, on the page itself, until something else is opened."""
        self._failed_text, message = event.text, in_window_words(event.message)
        source = self._session.source
        if self._session.playback is not None and source is not None:
            self._header.show_source(source.info)  # the previous source continues
        else:
            self._header.set_source("")
            self._set_title(TITLE)
            self._transport.set_source(None)
        if self._view.picture is None:
            name = Path(shown(event.text)).name or shown(event.text)
            name = self.tr("Camera {name}").format(name=name) if event.text.isdecimal() else name
            title = self.tr("{name} cannot be opened").format(name=name)
            what, _colon, why = message.partition(": ")
            message = why[:1].upper() + why[1:] if why and what.casefold() == title.casefold() else message
            line = self.tr("{message}.\nOpen a video, drop one here, or try the built-in demo.")
            self._welcome.show_message(title, line.format(message=message.rstrip(".")), again=True)
            self._note(in_window_words(event.message))
        else:
            again = (self.tr("Try again"), lambda: self.open(event.text))
            self._notices.report("error", message, subject="source", action=again)
