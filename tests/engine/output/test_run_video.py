"""`--video` from options to files, with fake networks."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import main
from engine.output import run_video
from engine.output.export import ExportSummary
from engine.output.run_video import EXIT_SOME_FAILED, summary_text
from engine.pipeline.pose_pipeline import PendingFrame, PipelineOptions, PosePipeline
from engine.types import FrameResult
from tests.engine.clips import ClipSpec, make_clip
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_options, weights_header


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return weights_header(tmp_path)


class Opened:
    """The pipeline of a run, and the options it was opened with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options = PipelineOptions()
        self.interrupt_at: int | None = None
        monkeypatch.setattr(run_video, "open_pipeline", self)

    def __call__(self, options: PipelineOptions, **_notify: object) -> PosePipeline:
        self.options = options
        opened = self

        class Pipeline(PosePipeline):
            def finish(self, pending: PendingFrame) -> FrameResult:
                if opened.interrupt_at == pending.frame.index:
                    raise KeyboardInterrupt
                return super().finish(pending)

        return Pipeline(
            FixedDetector(boxes((10, 10, 200, 300)), np.ones(1, np.float32)),
            BrightestPixel(),
            plain_options(want_areas=options.want_areas, want_attention=options.want_attention),
            description={
                "pose_model": "kcam_a", "backend": "openvino", "device": "cpu", "precision": "bf16",
                "skipped": [["tensorrt", "there is no GPU"]],
                "detector": "yolo_b", "detector_backend": "onnxruntime", "detector_device": "cpu",
                "detector_precision": "fp32", "detector_skipped": [],
            },
        )  # fmt: skip


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


def run(tmp_path: Path, *arguments: str) -> int:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(size_wh=(320, 320)))
    return main.main([
        "--video", str(clip), "--pose-model", str(tmp_path / "weights.safetensors"),
        "--detector", str(tmp_path / "detector.onnx"), "--output", str(tmp_path / "out.mp4"), *arguments,
    ])  # fmt: skip


def frames_of(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_run_writes_both_files_and_reports_the_networks(
    weights: Path, opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--poses", str(tmp_path / "out.jsonl"), "--max-frames", "5") == 0
    assert frames_of(tmp_path / "out.mp4") == 5
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4]
    assert len(lines[0]["people"][0]["keypoints"]) == 3
    out = capsys.readouterr().out
    assert "kcam_a on openvino (cpu, bf16)" in out
    assert "yolo_b on onnxruntime (cpu, fp32)" in out
    assert "skipped tensorrt: there is no GPU" in out
    assert "5 frames, 5 with people" in out


def test_a_quiet_run_prints_nothing(
    weights: Path, opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--max-frames", "2", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "wanted"), [("left_hand", (False, True)), ("areas:head", (True, False)), (None, (False, False))]
)
def test_only_the_maps_that_are_shown_are_computed(
    text: str | None, wanted: tuple[bool, bool], weights: Path, opened: Opened, tmp_path: Path
) -> None:
    assert run(tmp_path, "--max-frames", "1", *(["--attention", text] if text else [])) == 0
    assert (opened.options.want_areas, opened.options.want_attention) == wanted


def test_ctrl_c_in_a_file_keeps_the_written_frames(
    weights: Path, opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened.interrupt_at = 4
    assert run(tmp_path) == main.EXIT_INTERRUPTED == run_video.EXIT_INTERRUPTED
    assert frames_of(tmp_path / "out.mp4") == 4
    assert "stopped after 4 frames" in capsys.readouterr().out


def test_options_reach_the_pipeline(weights: Path, opened: Opened, tmp_path: Path) -> None:
    arguments = ["--backend", "onnxruntime", "--precision", "fp32", "--device", "cpu", "--score-threshold", "0.45"]
    assert run(tmp_path, "--max-frames", "1", "--max-people", "3", "--classes", "a,b", *arguments) == 0
    options = opened.options
    assert (options.backend, options.precision, options.device) == ("onnxruntime", "fp32", "cpu")
    assert (options.score_threshold, options.max_people, options.classes) == (0.45, 3, "a,b")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (True, True, 1, True)),
        (("--detect-every", "auto", "--no-smoothing"), (True, False, "auto", True)),
        (("--detect-every", "5", "--no-tracking", "--threads", "1"), (False, True, 5, False)),
    ],
)
def test_tracking_and_smoothing_depend_on_the_source(
    arguments: tuple[str, ...], expected: tuple[object, ...], weights: Path, opened: Opened, tmp_path: Path
) -> None:
    assert run(tmp_path, "--max-frames", "1", *arguments) == 0
    options = opened.options
    assert (options.tracking, options.smoothing, options.detect_every, options.overlapping) == expected


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "often"])
def test_the_detection_interval_is_validated(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--video", "demo", "--detect-every", text])
    assert ended.value.code == 2
    assert f"'{text}' is neither a whole number of at least 1 nor auto" in capsys.readouterr().err


def test_a_folder_of_photos_gives_a_folder_of_photos(weights: Path, opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(tmp_path / "in" / name), np.full((320, 240, 3), 90, np.uint8))
    code = main.main([
        "--video", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--pose-model", str(weights),
        "--detector", str(tmp_path / "detector.onnx"), "--quiet",
    ])  # fmt: skip
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_pose.png", "b_pose.jpg"}
    # Photos are unrelated.
    assert (opened.options.tracking, opened.options.smoothing, opened.options.detect_every) == (False, False, 1)


def test_photos_that_cannot_be_read_are_named_and_fail_the_run(
    weights: Path, opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.full((32, 24, 3), 90, np.uint8))
    for name in ("torn.png", "torn.jpg"):
        (tmp_path / "in" / name).write_bytes(b"no photo")
    arguments = ["--output", "none", "--pose-model", str(weights), "--detector", str(tmp_path / "detector.onnx")]
    runs = product((["in"], ["in/a.png", "in/torn.jpg", "in/torn.png"]), ([], ["--quiet"]))
    for number, (names, quiet) in enumerate(runs):
        sources = [str(tmp_path / name) for name in names]
        poses = tmp_path / f"{number}.jsonl"
        code = main.main(["--video", *sources, "--poses", str(poses), *arguments, *quiet])
        lines = capsys.readouterr().err.splitlines()
        assert code == EXIT_SOME_FAILED
        assert len(poses.read_text().splitlines()) == 1
        for name in ("torn.png", "torn.jpg"):
            assert [line for line in lines if name in line] == [
                f"skipped: {tmp_path / 'in' / name} is not a photo that can be read: "
                "expected JPEG, PNG or another picture format"
            ]


def test_the_summary_is_complete() -> None:
    text = summary_text(
        ExportSummary(
            frames=1,
            frames_with_people=0,
            seconds=0.5,
            outputs=tuple(Path(f"out/{n}.png") for n in range(5)),
            unreadable_frames=2,
            dropped_frames=3,
            audio_note="audio: AAC copied",
        )
    )
    for part in (
        "1 frame, 0 with people",
        "2.0 frames/s",
        "2 more in out",
        "2 could not",
        "3 arrived",
        "audio: AAC copied",
    ):
        assert part in text
