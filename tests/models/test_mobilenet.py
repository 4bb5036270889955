"""MobileNetV2 with a pyramid, and the weights of MoveNet that start it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.build import build_model
from models.checkpoints import CheckpointError, initialize_from
from models.foreign_weights import IMAGENET_MEAN, IMAGENET_STD
from models.mobilenet import PoseMobileNet

Manifest = dict[str, Any]
PREFIX = "StatefulPartitionedCall/some_extractor/model_1/model"


def mobilenet(name: str = "mobilenet_v2") -> PoseMobileNet:
    model = build_model(name, num_keypoints=5, input_size_wh=(64, 96))
    assert isinstance(model, PoseMobileNet)
    return model.eval()


def backbone_output(model: PoseMobileNet, images: torch.Tensor) -> torch.Tensor:
    x = model.stem(images)
    for block in model.blocks:
        x = block(x)
    return x  # type: ignore[no-any-return]


def shaken(model: nn.Module, seed: int = 0) -> None:
    """Batch norms as after some training, so that a mix-up of two layers shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                assert value is not None
                value.data = 0.5 + torch.rand(value.shape, generator=generator)


@torch.no_grad()
def test_the_backbone_is_torchvisions_with_other_padding() -> None:
    from torchvision.models import mobilenet_v2

    theirs = mobilenet_v2(width_mult=1.75).features[:18].eval()
    shaken(theirs)
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.padding = (0, 0)
            module.register_forward_pre_hook(lambda _module, inputs: functional.pad(inputs[0], (0, 1, 0, 1)))
    model = mobilenet()
    ours = nn.ModuleList([model.stem, model.blocks])
    for own, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        own.copy_(other)
    images = torch.randn(2, 3, 96, 64)
    torch.testing.assert_close(backbone_output(model, images), theirs(images), atol=1e-4, rtol=1e-4)


def folded(sequence: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Weight and offset of a convolution with the batch norm behind it folded in."""
    conv, norm = sequence[0], sequence[1]  # type: ignore[index]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    return weight.detach().numpy(), (norm.bias - norm.running_mean * scale).detach().numpy()


def write_movenet(model: PoseMobileNet, folder: Path) -> Path:
    """A TF.js graph model with a MobileNetV2 as MoveNet has it: folded, for RGB / 127.5 - 1, float16."""
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    weight, offset = folded(model.stem)
    # What takes (rgb - mean) / std becomes what takes rgb * 2 - 1.
    layers = [("Conv1/Conv2D", weight / (2 * std), offset - (weight / (2 * std) * (2 * mean - 1)).sum(axis=(1, 2, 3)))]
    for index, block in enumerate(model.blocks):
        name = f"block_{index}" if index else "expanded_conv"
        for part, kind in (("expand", "Conv2D"), ("depthwise", "depthwise"), ("project", "Conv2D")):
            if index or part != "expand":
                layers.append((f"{name}_{part}/{kind}", *folded(getattr(block, part))))
    entries: list[Manifest] = []
    numbers = b""
    other = np.arange(6, dtype="<i4")
    entries.append({"name": "StatefulPartitionedCall/some/shape", "shape": [2, 3], "dtype": "int32"})
    numbers += other.tobytes()
    for name, kernel, bias in layers:
        axes = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        for suffix, value in (("weights", np.transpose(kernel, axes)), ("bn_offset", bias)):
            entries.append(
                {
                    "name": f"{PREFIX}/{name}_{suffix}",
                    "shape": list(value.shape),
                    "dtype": "float32",
                    "quantization": {"dtype": "float16", "original_dtype": "float32"},
                }
            )
            numbers += value.astype("<f2").tobytes()
    (folder / "numbers.bin").write_bytes(numbers)
    file = folder / "movenet.json"
    file.write_text(json.dumps({"weightsManifest": [{"paths": ["numbers.bin"], "weights": entries}]}))
    return file


@torch.no_grad()
def test_movenets_backbone_starts_a_network(tmp_path: Path) -> None:
    source = mobilenet()
    shaken(source)
    model = mobilenet("kcam_mobilenet_v2")
    fresh = initialize_from(model, write_movenet(source, tmp_path))
    assert not [name for name in fresh if name.startswith(("stem", "blocks"))]
    assert [name for name in fresh if name.startswith("kcam")]
    images = torch.randn(2, 3, 96, 64)
    expected = backbone_output(source, images)
    difference = (backbone_output(model, images) - expected).abs().max()
    assert difference < 0.02 * expected.abs().max()  # float16


@torch.no_grad()
def test_thunder_matches_its_published_graph(photo_paths: list[Path]) -> None:
    teachers = Path(__file__).resolve().parents[3] / "shared" / "teachers"
    if not (teachers / "movenet_thunder.onnx").is_file():
        pytest.skip("MoveNet (../shared/teachers) is not on this machine")
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    graph = onnx.load(str(teachers / "movenet_thunder.onnx"))
    name = next(n.output[0] for n in graph.graph.node if n.output[0].endswith("block_16_project_BN/FusedBatchNormV3:0"))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    photo = cv2.imread(str(photo_paths[1]))
    assert photo is not None
    rgb = cv2.cvtColor(cv2.resize(photo, (256, 256)), cv2.COLOR_BGR2RGB)
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run([name], {"input:0": rgb[None].astype(np.int32)})
    model = mobilenet()
    initialize_from(model, teachers / "movenet-thunder.json")
    normalized = (rgb / 255 - IMAGENET_MEAN) / IMAGENET_STD
    found = backbone_output(model, torch.tensor(normalized.transpose(2, 0, 1)[None], dtype=torch.float32)).numpy()
    # float16 weights, and zeros at the border that stand for another grey.
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def _entry(manifest: Manifest, end: str) -> Manifest:
    return next(e for e in manifest["weightsManifest"][0]["weights"] if e["name"].endswith(end))


def _set(end: str, **values: Any) -> Callable[[Manifest], None]:
    return lambda manifest: _entry(manifest, end).update(values)


def _paths(*paths: Any) -> Callable[[Manifest], None]:
    return lambda manifest: manifest["weightsManifest"][0].update(paths=list(paths))


def _without(end: str) -> Callable[[Manifest], None]:
    def remove(manifest: Manifest) -> None:
        entry = _entry(manifest, end)
        entry["name"] = "StatefulPartitionedCall/other"

    return remove


HOSTILE: dict[str, tuple[Callable[[Manifest], None], str]] = {
    "more numbers than the file has": (_set("Conv1/Conv2D_weights", shape=[3, 3, 3, 57]), "the files beside it hold"),
    "a tensor of petabytes": (_set("Conv1/Conv2D_weights", shape=[2**30, 2**30]), "the files beside it hold"),
    "a negative side": (_set("Conv1/Conv2D_weights", shape=[-3, 3, 3, 56]), "cannot be read"),
    "a side of text": (_set("Conv1/Conv2D_weights", shape=["3", 3, 3, 56]), "cannot be read"),
    "400 digits": (_set("Conv1/Conv2D_weights", shape=[10**400]), "cannot be read"),
    "a hundred axes": (_set("Conv1/Conv2D_weights", shape=[1] * 100), "cannot be read"),
    "an unknown type": (_set("Conv1/Conv2D_weights", quantization={"dtype": "object"}), "cannot be read"),
    "no shape": (lambda m: _entry(m, "Conv1/Conv2D_weights").pop("shape"), "not a graph model"),
    "a shape that is a number": (_set("Conv1/Conv2D_weights", shape=3), "not a graph model"),
    "numbers elsewhere": (_paths("../numbers.bin"), "must stand beside it"),
    "numbers at an absolute path": (_paths("/etc/passwd"), "must stand beside it"),
    "numbers in the folder itself": (_paths(".."), "must stand beside it"),
    "numbers that are missing": (_paths("absent.bin"), "cannot be read"),
    "no groups": (lambda m: m.pop("weightsManifest"), "not a graph model"),
    "groups that are text": (lambda m: m.update(weightsManifest="abc"), "not a graph model"),
    "no first layer": (_without("Conv1/Conv2D_weights"), "the first layer of its backbone is missing"),
    "a first layer of another shape": (_set("Conv1/Conv2D_weights", shape=[3, 9, 1, 56]), "has another shape"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_graph_model_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    file = write_movenet(mobilenet(), tmp_path)
    change, message = HOSTILE[what]
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    model = mobilenet()
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as refused:
        initialize_from(model, file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(refused.value) and "movenet.json" in str(refused.value)
    assert peak < 64 * 2**20


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"[]", b"null", b"{}"])
def test_a_file_that_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "movenet.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"movenet\.json"):
        initialize_from(mobilenet(), file)


def test_a_damaged_value_is_refused(tmp_path: Path) -> None:
    file = write_movenet(mobilenet(), tmp_path)
    numbers = bytearray((tmp_path / "numbers.bin").read_bytes())
    numbers[24:26] = np.float16(np.nan).tobytes()
    (tmp_path / "numbers.bin").write_bytes(numbers)
    with pytest.raises(CheckpointError, match="not numbers"):
        initialize_from(mobilenet(), file)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v2", {"stem.0.weight": 2, "blocks.2.project.0.weight": 4, "blocks.16.project.0.weight": 32}),
        ("kcam_resnet18", {"conv1.weight": 2, "layer1.0.conv1.weight": 4, "layer4.1.conv2.weight": 32}),
        ("kcam_hrnet_w18", {"bn2.weight": 4, "stage2.0.branches.0.0.conv1.weight": 8, "transition3.3.0.0.weight": 32}),
    ],
)  # fmt: skip
def test_each_family_knows_the_strides_of_its_backbone(name: str, expected: dict[str, int]) -> None:
    model = build_model(name, deconv_channels=16)
    assert {key: model.backbone_stride(key) for key in expected} == expected
    heads = [key for key in model.state_dict() if key.startswith(("final_layer", "kcam", "deconv", "finest"))]
    assert heads and {model.backbone_stride(key) for key in heads} == {None}
