"""Random values: command lines and options."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import main
from engine.backends.contract import OpenOptions
from engine.detection.detector import resolve_classes
from engine.errors import OptionError
from engine.output.files import ExportOptions
from engine.overlay.attention import parse_attention
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.options import PipelineOptions
from engine.skeleton import COCO17
from tests.engine.fakes import THREE

pytestmark = pytest.mark.fault("fuzzing")

# Command lines

OPTIONS = sorted(option for action in main.build_parser()._actions for option in action.option_strings)
WORDS = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(["0", "-1", "1e400", "nan", "demo", "auto", "1,4", "", " ", "--", "-", "a.mp4", "=", "\x00"]),
    st.text(max_size=12),
    st.builds(lambda option, text: f"{option}={text}", st.sampled_from(OPTIONS), st.text(max_size=8)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=8))
def test_any_command_line_is_read_or_refused_in_one_line(words: list[str]) -> None:
    """Up to the start of the work."""
    requested: list[object] = []

    def run(arguments: object) -> int:
        requested.append(arguments)
        return 0

    err, out = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        patch.setattr(main, "_run", run)
        try:
            code: object = main.main(words)
        except SystemExit as ended:
            code = ended.code
    assert code in (0, 2)
    if code == 2:
        assert err.getvalue().startswith("error: ")
        assert err.getvalue().endswith("\n")
        assert err.getvalue()[:-1].isprintable(), "one line, and nothing that a terminal would obey"
        assert requested == []
    else:
        assert err.getvalue() == ""


# Options

NUMBER = st.one_of(st.floats(), st.integers(), st.sampled_from([0, -0.0, 1e-320, 1e308, 10**30]))
TEXT = st.one_of(st.text(max_size=10), st.sampled_from(["auto", "cpu", "cuda:-1", "cuda:", "cuda:99", "torch", "fp16"]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_options_are_accepted_or_refused(data: st.DataObject) -> None:
    draw_value = data.draw
    makers = [
        lambda: PipelineOptions(
            backend=draw_value(TEXT), precision=draw_value(TEXT), device=draw_value(TEXT),
            score_threshold=draw_value(NUMBER), max_people=draw_value(st.integers()),
            detect_every=draw_value(st.one_of(st.integers(), st.text(max_size=4), st.booleans())),
            threads=draw_value(st.one_of(st.none(), st.integers())),
        ),
        lambda: OpenOptions(precision=draw_value(TEXT), device=draw_value(TEXT), threads=draw_value(st.integers())),
        lambda: ExportOptions(max_frames=draw_value(st.integers()), duration_s=draw_value(NUMBER)),
        lambda: OverlayOptions(line_width=draw_value(NUMBER), opacity=draw_value(NUMBER), scale="paper"),
        lambda: parse_attention(draw_value(st.text(max_size=20)), COCO17),
        lambda: parse_attention("areas:" + draw_value(st.text(max_size=20)), THREE),
        lambda: resolve_classes(draw_value(st.text(max_size=12)), ("person", "hand")),
        lambda: THREE.keypoint_index(draw_value(st.text(max_size=12))),
    ]  # fmt: skip
    with contextlib.suppress(OptionError):
        maker: Any = data.draw(st.sampled_from(makers))
        assert maker() is not None
