"""The overlay panel: what is drawn over the video, and the attention map."""

from __future__ import annotations

from dataclasses import replace

from PyQt5.QtCore import pyqtSignal
from PyQt5.QtWidgets import QButtonGroup, QCheckBox, QComboBox, QFormLayout, QGridLayout, QPushButton, QWidget

from app.widgets.body_figure import BodyFigure, has_figure
from app.widgets.option_controls import OptionControl, make_control
from app.widgets.parts import faint, heading, in_column, in_row, push_button
from engine.option_table import Place, options_of
from engine.overlay.attention import AttentionView
from engine.overlay.drawing import OverlayOptions
from engine.skeleton import COCO17, Skeleton

_KINDS: tuple[str | None, ...] = (None, "areas", "attention")


class OverlayPanel(QWidget):
    """Choices that apply without running a network again.

    Signals:
        changed: another OverlayOptions.
        probe_cleared: the probe is to be removed, or all pinned ones if there is no other.
        probe_pinned: the probe is to be pinned.
    """

    changed = pyqtSignal(object)
    probe_cleared = pyqtSignal()
    probe_pinned = pyqtSignal()

    def __init__(self, parent: QWidget | None = None, *, options: OverlayOptions | None = None) -> None:
        """Make the controls; `options` are initial values, and their class is the table."""
        super().__init__(parent)
        self._base = options or OverlayOptions()
        self._skeleton = COCO17
        self._has_attention = True
        self._quiet = False
        self.keypoint = COCO17.keypoint_index("left_wrist")
        self._make_drawing()
        self._make_attention()
        switches = QGridLayout()  # with rows in line, also where one column is shorter
        switches.setVerticalSpacing(6)
        half = -(-len(self._switches) // 2)
        for number, box in enumerate(self._switches):
            switches.addWidget(box, number % half, number // half)
        in_column(
            heading(self.tr("Attention")),
            self._kinds_row,
            self.explanation,
            self.figure,
            self.keypoints,
            self.paper_scale,
            heading(self.tr("Probe")),
            self._probe_text,
            in_row((self.clear_probe, 1), self.pin_probe),
            heading(self.tr("Drawing")),
            switches,
            self._sliders,
            1,
            of=self,
            margins=(16, 8, 16, 16),
            spacing=6,
        )
        self._sync()

    def _make_drawing(self) -> None:
        """Add a control for each option of the table that has one: switches, and sliders below them."""
        self.controls: dict[str, OptionControl] = {}
        self._switches: list[QCheckBox] = []
        self._sliders = QFormLayout()
        self._sliders.setVerticalSpacing(8)
        for item in options_of(self._base, Place.PANEL):
            look = item.control
            assert look is not None  # noqa: S101 - options in a panel have one
            control = self.controls[item.name] = make_control(item, look, self.tr)
            control.show(item.default)
            control.touched.connect(self._emit_changed)
            if item.is_switch:
                self._switches.append(control.widget)
            else:
                control.widget.add_to(self._sliders, self.tr(look.label))
        # Those that have a key of their own.
        self.skeleton, self.boxes, self.ids, self.scores, self.angles, self.trails = (
            self.controls[name].widget for name in ("skeleton", "boxes", "ids", "scores", "angles", "trails")
        )

    def _make_attention(self) -> None:
        self._kinds_row = in_row(spacing=6)
        self.kinds = QButtonGroup(self)
        for number, text in enumerate((self.tr("Off"), self.tr("Area G"), self.tr("Attention S"))):
            kind = QPushButton(text)
            kind.setCheckable(True)
            self.kinds.addButton(kind, number)
            self._kinds_row.addWidget(kind, 1)
        self._button(0).setChecked(True)
        self.kinds.buttonToggled.connect(self._emit_changed)
        self.explanation = faint("")
        self.explanation.setMinimumHeight(36)
        self.figure = BodyFigure()
        self.figure.keypoint_chosen.connect(self.choose)
        self.keypoints = QComboBox()
        self.keypoints.setAccessibleName(self.tr("Keypoint of the attention map"))
        self.keypoints.activated.connect(self.choose)
        self.paper_scale = QCheckBox(self.tr("Scale of the paper: 0 to 1"))
        self.paper_scale.toggled.connect(self._emit_changed)
        self._probe_text = faint("")
        self.clear_probe = push_button(self.tr("Remove the probe (Esc)"), self.probe_cleared)
        tip = self.tr("Keep this probe and set another; up to four (Shift+X)")
        self.pin_probe = push_button(self.tr("Pin"), self.probe_pinned, tip)
        self.clear_probe.hide()
        self.pin_probe.hide()
        self.set_probe_state(False)

    def _button(self, number: int) -> QPushButton:
        kind = self.kinds.button(number)
        assert isinstance(kind, QPushButton)  # noqa: S101 - made above
        return kind

    def set_skeleton(self, skeleton: Skeleton, *, has_attention: bool) -> None:
        """Fit the panel to the network that runs."""
        if skeleton.keypoint_names != self._skeleton.keypoint_names:
            old = self._skeleton.keypoint_names[self.keypoint]
            self.keypoint = skeleton.keypoint_names.index(old) if old in skeleton.keypoint_names else 0
        self._skeleton, self._has_attention = skeleton, has_attention
        self._sync()
        self._emit_changed()

    def set_probe_state(self, is_set: bool, waiting: str = "", *, can_pin: bool = False) -> None:
        """Show whether a probe is set and can be pinned, and that it waits for its person."""
        if is_set != self.has_probe:
            self.clear_probe.setVisible(is_set)
        if can_pin is self.pin_probe.isHidden():
            self.pin_probe.setVisible(can_pin)
        self._probe_text.setVisible(not is_set or bool(waiting))
        self._probe_text.setText(
            waiting or self.tr("Click on a person in the video to see the attention at that point.")
        )

    @property
    def has_probe(self) -> bool:
        """Whether a probe is set."""
        return self.clear_probe.isVisibleTo(self)

    @property
    def options(self) -> OverlayOptions:
        """What is chosen."""
        kind = _KINDS[self.kinds.checkedId()] if self._has_attention else None
        view = None
        if kind is not None:
            view = AttentionView(kind="areas" if kind == "areas" else "attention", keypoint=self.keypoint)
        return replace(
            self._base,
            **{name: control.value() for name, control in self.controls.items()},
            attention=view,
            scale="paper" if self.paper_scale.isChecked() else "frame",
        )

    def set_options(self, options: OverlayOptions, *, keypoint: int | None = None) -> None:
        """Show and announce these choices; `keypoint`: the one that is chosen while no map is shown."""
        self._quiet = True
        self._base = options
        for name, control in self.controls.items():
            control.show(getattr(options, name))
        self.paper_scale.setChecked(options.scale == "paper")
        keypoint = keypoint if options.attention is None else options.attention.keypoint
        if keypoint is not None and 0 <= keypoint < self._skeleton.num_keypoints:
            self.keypoint = keypoint
        self._button(0 if options.attention is None else _KINDS.index(options.attention.kind)).setChecked(True)
        self._quiet = False
        self._sync()
        self._emit_changed()

    def set_kind(self, kind: str | None) -> None:
        """Show no map (None), or the map of a kind: 'areas' or 'attention'."""
        self._button(_KINDS.index(kind)).setChecked(True)

    def next_kind(self) -> None:
        """Off, areas, attention, off."""
        if self._has_attention:
            self._button((self.kinds.checkedId() + 1) % len(_KINDS)).setChecked(True)

    def choose_keypoint(self, name: str) -> None:
        """Choose a keypoint by its name.

        Raises:
            OptionError: the network has none of that name.
        """
        self.choose(self._skeleton.keypoint_index(name))

    def step_keypoint(self, step: int) -> None:
        """Choose the next keypoint, or the one before."""
        self.choose((self.keypoint + step) % self._skeleton.num_keypoints)

    def choose(self, keypoint: int) -> None:
        """Choose a keypoint by its index, and show its map."""
        self.keypoint = keypoint
        if self.kinds.checkedId() == 0 and self._has_attention:
            self._quiet = True
            self._button(2).setChecked(True)  # a clicked keypoint is to be shown
            self._quiet = False
        self._sync()
        self._emit_changed()

    def _sync(self) -> None:
        """Update the widgets that depend on the skeleton and the chosen keypoint."""
        figured = has_figure(self._skeleton)
        names = [name.replace("_", " ") for name in self._skeleton.keypoint_names]
        if [self.keypoints.itemText(number) for number in range(self.keypoints.count())] != names:
            self.keypoints.clear()
            self.keypoints.addItems(names)
        self.keypoints.setCurrentIndex(self.keypoint)
        self.figure.setVisible(figured)
        if figured:
            self.figure.set_skeleton(self._skeleton)
            self.figure.set_current(self.keypoint)
        for widget in (self.figure, self.keypoints, self.paper_scale, self._probe_text):
            widget.setEnabled(self._has_attention)
        for kind in self.kinds.buttons():
            kind.setEnabled(self._has_attention)

    def _emit_changed(self, *_values: object) -> None:
        if self._quiet:
            return
        name = self._skeleton.keypoint_names[self.keypoint].replace("_", " ")
        texts = (
            self.tr("Choose a map, or click a keypoint below."),
            self.tr("Which pixels make up the description of the {name}.").format(name=name),
            self.tr("How strongly each pixel draws on the {name}.").format(name=name),
        )
        no_maps = self.tr("This network has no attention maps; kcam_ models have.")
        self.explanation.setText(texts[self.kinds.checkedId()] if self._has_attention else no_maps)
        self.changed.emit(self.options)
