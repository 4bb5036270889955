"""Settings that the window remembers, in QSettings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from PyQt5.QtCore import QByteArray, QSettings

from app.output.record_options import RecordOptions
from app.qt_setup import NAME
from engine.errors import EngineError
from engine.option_table import Place, options_of
from engine.overlay.attention import AttentionView
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.options import PipelineOptions
from engine.sources.addresses import has_secret

_MOST_RECENT = 8
_Table = TypeVar("_Table")


class Settings:
    """Reads and writes settings; a value that is no longer valid is ignored."""

    def __init__(self, store: QSettings | None = None) -> None:
        self.store = store or QSettings(NAME, "window")

    def _read(self, key: str, kind: Callable[[Any], Any]) -> Any:
        """A value of a kind; None where there is none or it is of another kind."""
        if not self.store.contains(key):
            return None
        value = self.store.value(key)
        if value is None or value == "":
            return None
        try:
            if kind is bool:
                return value if isinstance(value, bool) else str(value).lower() == "true"
            return kind(str(value))
        except (TypeError, ValueError):
            return None

    def read_options(self, group: str, table: type) -> dict[str, Any]:
        """The remembered options of a table; one that is no longer valid is omitted."""
        found = {}
        for option in options_of(table, Place.SETTINGS):
            value = self._read(f"{group}/{option.name}", bool if option.is_switch else option.read)
            if value is not None:
                found[option.name] = value
        return found

    def write_options(self, group: str, options: object) -> None:
        """Remember the options of a table."""
        for option in options_of(options, Place.SETTINGS):
            value = getattr(options, option.name)
            self.store.setValue(f"{group}/{option.name}", "" if value is None else value)

    def _restored(self, group: str, table: type[_Table], **also: object) -> _Table:
        """The remembered options of a table, or the defaults where they do not fit each other."""
        try:
            return table(**self.read_options(group, table), **also)
        except EngineError:
            return table()

    @property
    def pipeline(self) -> PipelineOptions:
        """The pipeline that was chosen last."""
        return self._restored("pipeline", PipelineOptions)

    @pipeline.setter
    def pipeline(self, options: PipelineOptions) -> None:
        self.write_options("pipeline", options)

    @property
    def overlay(self) -> OverlayOptions:
        """The overlay that was chosen last."""
        kind, keypoint = self._read("overlay/attention", str), self._read("overlay/keypoint", int)
        try:
            view = None if kind is None or keypoint is None else AttentionView(kind=kind, keypoint=keypoint)
        except EngineError:
            return OverlayOptions()
        return self._restored("overlay", OverlayOptions, attention=view)

    @overlay.setter
    def overlay(self, options: OverlayOptions) -> None:
        self.write_options("overlay", options)
        view = options.attention
        self.store.setValue("overlay/attention", "" if view is None else view.kind)
        if view is not None:
            self.keypoint = view.keypoint

    @property
    def record(self) -> RecordOptions:
        """What the record button writes."""
        return self._restored("record", RecordOptions)

    @record.setter
    def record(self, options: RecordOptions) -> None:
        self.write_options("record", options)

    @property
    def keypoint(self) -> int | None:
        """The keypoint of the attention maps that was chosen last, whether a map was shown or not."""
        found = self._read("overlay/keypoint", int)
        return None if found is None else int(found)

    @keypoint.setter
    def keypoint(self, keypoint: int) -> None:
        self.store.setValue("overlay/keypoint", keypoint)

    @property
    def recent(self) -> list[str]:
        """Sources that were opened, the last one first."""
        found = self.store.value("sources/recent", [])
        texts = [str(text) for text in found] if isinstance(found, list) else [str(found)] if found else []
        return [text for text in texts if not has_secret(text)]

    def add_recent(self, text: str) -> None:
        """Remember a source; addresses that may contain a password or a key are not."""
        if has_secret(text):
            return
        self.store.setValue("sources/recent", [text, *(old for old in self.recent if old != text)][:_MOST_RECENT])

    def flag(self, name: str, default: bool) -> bool:
        """A switch of the window, such as mirror or loop."""
        found = self._read(f"window/{name}", bool)
        return default if found is None else bool(found)

    def set_flag(self, name: str, value: bool) -> None:
        """Remember a switch."""
        self.store.setValue(f"window/{name}", value)

    def text(self, name: str) -> str:
        """A text of the window, such as a folder; empty where none was remembered."""
        return str(self._read(f"window/{name}", str) or "")

    def set_text(self, name: str, value: str) -> None:
        """Remember a text."""
        self.store.setValue(f"window/{name}", value)

    @property
    def geometry(self) -> QByteArray | None:
        """Place and size of the window."""
        found = self.store.value("window/geometry")
        return found if isinstance(found, QByteArray) else None

    @geometry.setter
    def geometry(self, geometry: QByteArray) -> None:
        self.store.setValue("window/geometry", geometry)

    def reset(self) -> None:
        """Forget everything."""
        self.store.clear()
        self.store.sync()
