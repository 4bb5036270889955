"""Settings that the window remembers, in QSettings."""

from __future__ import annotations

from typing import Any

from PyQt5.QtCore import QByteArray, QSettings

from app.qt_setup import NAME
from engine.errors import EngineError
from engine.overlay.drawing import AttentionView, OverlayOptions
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.addresses import has_secret

_MOST_RECENT = 8
_PIPELINE: dict[str, type] = {
    "pose_model": str, "detector": str, "backend": str, "precision": str, "score_threshold": float,
    "person_threshold": float, "max_people": int, "tracking": bool, "smoothing": bool, "detect_every": str,
}  # fmt: skip
_OVERLAY: dict[str, type] = {
    "skeleton": bool, "boxes": bool, "ids": bool, "scores": bool, "line_width": float, "opacity": float,
    "score_threshold": float, "scale": str,
}  # fmt: skip


class Settings:
    """Reads and writes settings; a value that is no longer valid is ignored."""

    def __init__(self, store: QSettings | None = None) -> None:
        self.store = store or QSettings(NAME, "window")

    def _read(self, key: str, kind: type) -> Any:
        """A value converted to a type; None if there is none or it cannot be converted."""
        if not self.store.contains(key):
            return None
        value = self.store.value(key)
        if value is None or value == "":
            return None
        try:
            if kind is bool:
                return value if isinstance(value, bool) else str(value).lower() == "true"
            return kind(value)
        except (TypeError, ValueError):
            return None

    def _read_all(self, group: str, kinds: dict[str, type]) -> dict[str, Any]:
        found = {name: self._read(f"{group}/{name}", kind) for name, kind in kinds.items()}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def pipeline(self) -> PipelineOptions:
        """The pipeline that was chosen last."""
        values = self._read_all("pipeline", _PIPELINE)
        every = values.get("detect_every")
        if isinstance(every, str) and every.isdecimal():
            values["detect_every"] = int(every)
        try:
            return PipelineOptions(**values)
        except EngineError:
            return PipelineOptions()

    @pipeline.setter
    def pipeline(self, options: PipelineOptions) -> None:
        for name in _PIPELINE:
            value = getattr(options, name)
            self.store.setValue(f"pipeline/{name}", "" if value is None else value)

    @property
    def overlay(self) -> OverlayOptions:
        """The overlay that was chosen last."""
        values = self._read_all("overlay", _OVERLAY)
        kind, keypoint = self._read("overlay/attention", str), self._read("overlay/keypoint", int)
        try:
            if kind is not None and keypoint is not None:
                values["attention"] = AttentionView(kind=kind, keypoint=keypoint)  # type: ignore[arg-type]
            return OverlayOptions(**values)
        except EngineError:
            return OverlayOptions()

    @overlay.setter
    def overlay(self, options: OverlayOptions) -> None:
        for name in _OVERLAY:
            value = getattr(options, name)
            self.store.setValue(f"overlay/{name}", "" if value is None else value)
        view = options.attention
        self.store.setValue("overlay/attention", "" if view is None else view.kind)
        if view is not None:
            self.store.setValue("overlay/keypoint", view.keypoint)

    @property
    def recent(self) -> list[str]:
        """Sources that were opened, the last one first."""
        found = self.store.value("sources/recent", [])
        texts = [str(text) for text in found] if isinstance(found, list) else [str(found)] if found else []
        return [text for text in texts if not has_secret(text)]

    def add_recent(self, text: str) -> None:
        """Remember a source; addresses that may carry a password or a key are not remembered."""
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

    @property
    def last_folder(self) -> str:
        """Folder of the last file dialog."""
        return str(self._read("window/folder", str) or "")

    @last_folder.setter
    def last_folder(self, folder: str) -> None:
        self.store.setValue("window/folder", folder)

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
