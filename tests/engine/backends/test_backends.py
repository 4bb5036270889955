"""Backends: requested outputs only, refusal of invalid calls and files, and reasons why one cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.backends import PRECISIONS, OpenOptions, open_pose_backend, probe_precisions
from engine.backends.openvino import OpenVinoBackend
from engine.build.onnx_export import export_pose
from engine.errors import BackendError, ModelError, OptionError
from models.build import build_model
from models.checkpoints import save_pose_model
from tests.engine.small_pose_model import INPUT_SIZE_WH, SKELETON, open_small, random_crops

RUNTIMES = ("openvino", "onnxruntime", "torch")


@pytest.mark.parametrize("name", RUNTIMES)
def test_only_requested_outputs_are_returned_and_owned(name: str, small_weights: Path, small_onnx: Path) -> None:
    crops = random_crops(2, seed=5)
    with open_small(name, small_weights, small_onnx) as backend:
        first = backend.infer({"crops": crops}, ["keypoints"])
        kept = first["keypoints"].copy()
        assert set(first) == {"keypoints"}
        assert set(backend.infer({"crops": crops[::-1]}, ["attention", "keypoints"])) == {"attention", "keypoints"}
        np.testing.assert_array_equal(first["keypoints"], kept)
        assert backend.infer({"crops": crops}, []) == {}


def test_openvino_gives_the_same_before_and_after_compiling_for_a_shape(small_onnx: Path) -> None:
    crops = random_crops(3, seed=6)
    with OpenVinoBackend(small_onnx, OpenOptions(precision="fp32", threads=1)) as backend:
        runs = [backend.infer({"crops": crops}, ["keypoints"])["keypoints"] for _ in range(12)]
        for count in range(1, 9):
            for _ in range(10):
                assert len(backend.infer({"crops": crops[:1].repeat(count, 0)}, ["keypoints"])["keypoints"]) == count
        # 12 distinct shapes recurred; each program has its own copy of the weights.
        assert len(backend._requests) <= 5
    for run in runs[1:]:
        np.testing.assert_allclose(run, runs[0], atol=1e-4)


@pytest.mark.parametrize("name", RUNTIMES)
def test_calls_that_do_not_fit_the_spec_are_refused(name: str, small_weights: Path, small_onnx: Path) -> None:
    crops = random_crops(1, seed=7)
    with open_small(name, small_weights, small_onnx) as backend:
        for inputs, want, message in (
            ({"crops": crops.astype(np.float32)}, ["keypoints"], r"float32 .*expected uint8 \(N, 96, 64, 3\)"),
            ({"crops": crops[:, :90]}, ["keypoints"], r"\(1, 90, 64, 3\)"),
            ({"pictures": crops}, ["keypoints"], "takes the inputs"),
            ({"crops": crops}, ["keypoint"], "Did you mean 'keypoints'"),
        ):
            with pytest.raises(BackendError, match=message):
                backend.infer(inputs, want)
    with pytest.raises(BackendError, match="closed"):
        backend.infer({"crops": crops}, ["keypoints"])


def test_auto_uses_the_first_that_runs_and_reports_why_others_were_skipped(
    small_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.cuda_driver.cuda_device_count", lambda: 0)
    opened = open_pose_backend(small_onnx, device="cpu", precision="fp32")
    with opened.backend as backend:
        assert (backend.name, backend.device, backend.precision) == ("openvino", "cpu", "fp32")
    opened = open_pose_backend(small_onnx, precision="fp32")
    opened.backend.close()
    assert [name for name, _ in opened.skipped] == ["tensorrt", "tensorrt_rtx", "torch (cuda)"]
    assert "NVIDIA" in dict(opened.skipped)["torch (cuda)"]

    def broken(*_arguments: object) -> None:
        raise BackendError("broken on purpose")

    monkeypatch.setattr("engine.backends.openvino.OpenVinoBackend", broken)
    opened = open_pose_backend(small_onnx)
    opened.backend.close()
    assert opened.backend.name == "onnxruntime"
    assert opened.skipped[-1] == ("openvino", "broken on purpose")


def test_a_named_backend_that_cannot_run_is_an_error(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for name, advice in (
        ("tensorrt", "requirements-tensorrt.txt"),
        ("tensorrt_rtx", "requirements-rtx.txt"),
        ("openvino", "requirements-run.txt"),
        ("onnxruntime", "requirements-run.txt"),
        ("torch", "requirements.txt"),
    ):
        with pytest.raises(BackendError, match=advice):
            open_pose_backend(small_onnx, backend=name)
    with pytest.raises(BackendError, match="no backend can run this"):
        open_pose_backend(small_onnx)


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("onnxruntime", "bf16", "bf16 runs on openvino"),
        ("onnxruntime", "int8", "a graph in fp32; for int8 name its .safetensors file"),
        ("openvino", "fp16", "torch with a CUDA device"),
        ("torch", "fp16", "CUDA"),
        ("torch", "int8", "computes in fp32 and bf16"),
    ],
)
def test_an_unsupported_precision_is_refused(
    name: str, precision: str, message: str, small_weights: Path, small_onnx: Path
) -> None:
    with pytest.raises(BackendError, match=message):
        open_pose_backend(
            small_weights if name == "torch" else small_onnx, backend=name, precision=precision, device="cpu"
        )


def test_what_the_search_for_precisions_says_is_what_opening_does(small_onnx: Path) -> None:
    """Each precision that it refuses is refused with the same reason, and each other one runs."""
    found = probe_precisions(small_onnx)
    for name in ("openvino", "onnxruntime"):
        refused: dict[str, str] = {}
        for precision in PRECISIONS[1:]:
            try:
                open_pose_backend(small_onnx, backend=name, precision=precision, device="cpu").backend.close()
            except BackendError as error:
                refused[precision] = str(error)
        assert found[name] == refused and "fp16" in refused
    assert "fp32" not in found["auto"] and set(found["auto"]) <= set(found["openvino"])
    assert found["onnxruntime"]["int8"] in found["auto"]["int8"].splitlines()


def test_errors_about_invalid_values_name_the_nearest(small_onnx: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean 'openvino'"):
        open_pose_backend(small_onnx, backend="openvine")
    with pytest.raises(OptionError, match="Did you mean 'fp16'"):
        open_pose_backend(small_onnx, precision="f16")
    with pytest.raises(OptionError, match="gpu"):
        open_pose_backend(small_onnx, device="gpu")
    with pytest.raises(BackendError, match="openvino does not run on NVIDIA"):
        open_pose_backend(small_onnx, backend="openvino", device="cuda")
    with pytest.raises(BackendError, match="openvino runs on cpu, not on coreml; onnxruntime does"):
        open_pose_backend(small_onnx, backend="openvino", device="coreml")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_truncated_file_is_refused_before_the_runtime_sees_it(name: str, small_onnx: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    content = small_onnx.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="no spec"):
        open_pose_backend(cut, backend=name)
    cut.with_name("cut.onnx.spec.json").write_bytes(small_onnx.with_name("small.onnx.spec.json").read_bytes())
    with pytest.raises(ModelError, match="SHA-256"):
        open_pose_backend(cut, backend=name)


def test_a_skeleton_that_is_not_the_networks_is_refused(tmp_path: Path) -> None:
    model = build_model("resnet18", num_keypoints=3, input_size_wh=INPUT_SIZE_WH, deconv_channels=8)
    file = tmp_path / "three.safetensors"
    save_pose_model(file, model, skeleton=SKELETON.to_dict())
    with pytest.raises(ModelError, match="skeleton has 4 keypoints, its network 3"):
        export_pose(file, tmp_path / "three.onnx")
    with pytest.raises(ModelError, match="skeleton has 4 keypoints"):
        open_pose_backend(file, backend="torch", device="cpu")


def test_probing_imports_no_runtime() -> None:
    script = (
        "import sys; from engine.backends import probe_backends; found = probe_backends(); "
        "assert {name.split()[0] for name, _, _ in found} == "
        "{'tensorrt', 'tensorrt_rtx', 'torch', 'openvino', 'onnxruntime'}, found; "
        "assert all(detail for _, _, detail in found); "
        "heavy = {'torch', 'openvino', 'onnxruntime', 'ultralytics', 'onnx'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
