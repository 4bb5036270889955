"""UDP coordinates: exact where the plain ones shift, and the same from the training crop to the frame of a video."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.backends import open_pose_backend
from engine.geometry import apply_affines, box_centers_sizes, boxes_to_affines, heatmap_stride, warp_crops
from engine.heatmap import decode_heatmaps, decode_heatmaps_dark, decoder_for, encode_heatmaps
from engine.pipeline.pose_stage import PendingFrame, PoseStage
from engine.types import Detections, Float32Array, Frame, UInt8Array
from models.build import build_model
from models.checkpoints import load_pose_model, save_pose_model
from models.pose_model import PoseModelConfig
from tests.engine.fakes import BrightestPixel, boxes, pose_spec
from tests.train.people_folder import write_people
from train.config import TrainConfig
from train.data.boxes import labelled_boxes
from train.data.dataset import ImageStore, TrainDataset
from train.data.reading import read_people
from train.evaluate import main
from train.evaluation.prediction import flip_averaged, iterate_crops, predict_boxes
from train.options import config_from, parse_options

SIZE, MAP = (96, 128), (24, 32)
ONE = np.ones(1, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "p")


def test_a_box_fills_the_crop_from_the_middle_of_its_first_px_to_that_of_its_last() -> None:
    box = np.array([[100, 50, 250, 250]], np.float32)
    (center,), (size,) = box_centers_sizes(box, SIZE)
    corners = np.stack([center - size / 2, center, center + size / 2])[None].astype(np.float32)
    found = apply_affines(boxes_to_affines(box, SIZE, udp=True), corners)[0]
    # One factor for both directions, that of the width, as in the official code; 95 x 4 / 3 is not quite 127.
    short = (127 - 95 * 4 / 3) / 2
    np.testing.assert_allclose(found, np.array([[0, short], [47.5, 63.5], [95, 127 - short]]), atol=1e-3)
    assert heatmap_stride(SIZE, MAP, udp=True) == (95 / 23, 127 / 31)


@given(st.floats(16, 79, width=32), st.floats(20, 107, width=32))
def test_targets_lose_nothing_and_mirror_exactly(x: float, y: float) -> None:
    """The plain ones round to whole px, and mirrored ones lie a px off."""
    maps, mirrored = (
        encode_heatmaps(np.array([[place, y]], np.float32), ONE, SIZE, MAP, 1.5, udp=True)[0] for place in (x, 95 - x)
    )
    found = decode_heatmaps_dark(maps[None], SIZE, 1.5, udp=True)[0, 0]
    assert np.abs(found[:2] - (x, y)).max() < 0.35  # where it was cut off, at 3 sigma, the map is no Gaussian
    # A keypoint half-way between two px is rounded up whichever way one looks, and the maps end 3 sigma from there.
    np.testing.assert_allclose(mirrored[..., ::-1], maps, atol=0.012)


def one_dot(crops: UInt8Array) -> Float32Array:
    """A "network" that sees the white dot exactly, wherever it is in the crop."""
    maps = []
    for crop in crops:
        weights = (crop.min(axis=2).astype(np.float64) / 255) ** 4
        y, x = (float((weights * axis).sum() / weights.sum()) for axis in np.mgrid[: SIZE[1], : SIZE[0]])
        maps.append(encode_heatmaps(np.array([[x, y]] * 3, np.float32), np.ones(3, np.float32), SIZE, MAP, 1.5,
                                    udp=True)[0])  # fmt: skip
    return np.asarray(maps, np.float32)


def test_the_flip_test_needs_no_shift(folder: Path) -> None:
    people = read_people(folder, "val")
    images = ImageStore(people, keep=True)
    decode = decoder_for("dark", sigma=1.5, udp=True)
    order = (0, 1, 2)
    plain, flipped, shifted = (
        predict_boxes(predict, labelled_boxes(people), images, SIZE, decode=decode, udp=True)
        for predict in (one_dot, flip_averaged(one_dot, order, udp=True), flip_averaged(one_dot, order))
    )
    assert np.abs(flipped - plain)[..., :2].max() < 0.05
    assert np.abs(shifted - plain)[..., 0].min() > 0.2
    truth = np.stack([person.keypoints[0, :2] for person in people.people])
    assert np.abs(plain[:, 0, :2] - truth).max() < 0.75  # cv2.circle rounds the dot to whole px


def test_training_crops_are_those_of_evaluation(folder: Path) -> None:
    pose_model = PoseModelConfig(name="kcam_resnet18", num_keypoints=3, input_size_wh=SIZE, udp=True, sigma=2.5)
    config = TrainConfig(pose_model=pose_model, data=folder, output=folder / "run", half_body_probability=0.0)
    still = dataclasses.replace(config, rotation_deg=0.0, scale_range=(1.0, 1.0), flip_probability=0.0)
    people = read_people(folder, "train")
    images = ImageStore(people, keep=True)
    batch = next(iterate_crops(labelled_boxes(people), images, SIZE, 16, udp=True))
    mirrored = dataclasses.replace(still, flip_probability=1.0)
    for row, index in enumerate(batch.indices):
        sample = TrainDataset(people, images, still, SIZE)[(0, int(index), 0)]
        np.testing.assert_array_equal(sample["crop"].numpy(), batch.crops[row])
        turned = TrainDataset(people, images, mirrored, SIZE)[(0, int(index), 0)]
        assert np.abs(turned["crop"].numpy()[:, ::-1].astype(int) - batch.crops[row]).max() <= 1
        targets = sample["targets"].numpy()
        np.testing.assert_allclose(turned["targets"].numpy()[[0, 2, 1], :, ::-1], targets, atol=0.03)
        assert np.abs(targets.sum() - 3 * 2 * np.pi * 2.5**2) < 3, "Gaussians of the sigma that was asked for"


def test_the_pipeline_cuts_as_the_spec_says() -> None:
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    box = boxes((60, 40, 140, 160))
    seen = []

    class Keeping(BrightestPixel):
        def infer(self, inputs, want):  # type: ignore[no-untyped-def]
            seen.append(inputs["crops"].copy())
            return super().infer(inputs, want)

    spec = dataclasses.replace(pose_spec(), udp=True)
    found = Detections(boxes_xyxy=box, scores=ONE, class_ids=np.zeros(1, np.int64))
    frame = Frame(image_bgr=image, index=0, timestamp_s=0.0)
    pending = PendingFrame(frame=frame, detections=found, detected=True)
    posed = PoseStage(Keeping(spec=spec), want_areas=False, want_attention=True, max_people=2).run([pending])
    affines = boxes_to_affines(box, SIZE, udp=True)
    np.testing.assert_array_equal(seen[0], warp_crops(image, affines, SIZE))
    maps = posed[0].attention
    assert maps is not None
    # Whoever draws takes it that a px of the map is 4 px of the crop: the last one then lies on the crop's last px.
    drawn = apply_affines(maps.crop_to_frame, np.array([[[23 * 4, 31 * 4], [0, 0]]], np.float32))
    np.testing.assert_allclose(apply_affines(affines, drawn)[0], np.array([[95, 127], [0, 0]]), atol=1e-2)


def small_network(folder: Path, file: Path, **fields: object) -> Path:
    torch.manual_seed(0)
    people = read_people(folder, "val")
    size = {"num_keypoints": 3, "input_size_wh": (64, 64), "deconv_channels": 16}
    model = build_model("kcam_resnet18", **size, **fields).eval()
    save_pose_model(file, model, skeleton=people.skeleton.to_dict(), class_names=people.class_names)
    return file


def test_coordinates_and_sigma_travel_in_the_weights(folder: Path, tmp_path: Path) -> None:
    weights = small_network(folder, tmp_path / "w.safetensors", udp=True, sigma=3.0)
    config = load_pose_model(weights).config
    assert (config.udp, config.sigma) == (True, 3.0)
    crops = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    with open_pose_backend(weights, backend="torch").backend as backend:
        assert (backend.spec.udp, backend.spec.sigma) == (True, 3.0)
        assert type(backend.spec).from_dict(json.loads(json.dumps(backend.spec.to_dict()))) == backend.spec
        outputs = backend.infer({"crops": crops}, ("keypoints", "heatmaps"))
    expected = decode_heatmaps(outputs["heatmaps"], (64, 64), udp=True)
    np.testing.assert_allclose(outputs["keypoints"], expected, atol=1e-3)


def test_dark_decodes_with_the_sigma_that_was_taught(folder: Path, tmp_path: Path) -> None:
    results = {}
    for sigma in (0.0, 3.0):
        weights = small_network(folder, tmp_path / f"{sigma}.safetensors", sigma=sigma)
        file = tmp_path / f"{sigma}.json"
        arguments = ["--weights", str(weights), "--data", str(folder), "--decode", "dark", "--results", str(file)]
        assert main(arguments) == 0
        results[sigma] = [result["keypoints"] for result in json.loads(file.read_text())]
    assert results[0.0] != results[3.0]


def test_both_are_options_of_a_run() -> None:
    config = config_from(parse_options(["--model", "resnet18", "--data", "d", "--udp", "--sigma", "2.5"]))
    assert (config.pose_model.udp, config.pose_model.sigma, config.target_sigma((48, 64))) == (True, 2.5, 2.5)
    config = config_from(parse_options(["--model", "resnet18", "--data", "d"]))
    assert (config.pose_model.udp, config.target_sigma((48, 64)), config.target_sigma((72, 96))) == (False, 2.0, 3.0)


def test_a_broken_picture_is_named_skipped_and_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    (data / "val" / "2.png").write_bytes(b"no picture")
    weights = small_network(folder, tmp_path / "w.safetensors")
    report, results = tmp_path / "report.json", tmp_path / "results.json"
    arguments = ["--weights", str(weights), "--data", str(data), "--report", str(report), "--results", str(results)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("2.png is not a picture that can be decoded") == 1
    assert "1 broken pictures or labels were skipped" in printed
    written = json.loads(report.read_text())
    assert (written["people"], written["skipped"], len(json.loads(results.read_text()))) == (5, 1, 5)
    for file in (data / "val").iterdir():
        file.write_bytes(b"no picture")
    assert main([*arguments, "--overwrite"]) == 2
    assert "none of the pictures" in capsys.readouterr().err
