"""A pose network in the forms that `python -m engine cost` compares: bare, with the paper's KCAM, with folded KCAM."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.artifacts.model_files import bundled_pose_models, resolve_pose_model
from engine.backends import Backend, OpenOptions, open_pose_backend
from engine.benchmark.selection import CostOptions
from engine.build.onnx_export import export_pose
from engine.errors import BackendError, ModelError, OptionError, nearest_hint
from engine.skeleton import COCO17

if TYPE_CHECKING:
    from models.checkpoints import PoseCheckpoint

FORMS = ("bare", "unfolded", "folded")


def write_forms(options: CostOptions, folder: Path) -> dict[str, Any]:
    """Write the weights with and without KCAM and the three graphs; returns a description of the network.

    Raises:
        OptionError, ModelError: the network cannot be built with these options.
    """
    from models.build import build_from_config
    from models.checkpoints import save_pose_model

    checkpoint, source = _network(options)
    config = checkpoint.config
    if not config.has_kcam:
        raise OptionError(f"{config.name} has no KCAM to measure; kcam_{config.name} does")
    bare = build_from_config(dataclasses.replace(config, name=config.backbone_name))
    own = checkpoint.model.state_dict()
    bare.load_state_dict({name: own[name] for name in bare.state_dict()})
    fields: dict[str, Any] = {"skeleton": checkpoint.skeleton, "mean": checkpoint.mean, "std": checkpoint.std}
    weights, bare_weights = folder / "kcam.safetensors", folder / "bare.safetensors"
    save_pose_model(weights, checkpoint.model, **fields, half=False)
    save_pose_model(bare_weights, bare.eval(), **fields, half=False)
    if set(options.runtimes) != {"torch"}:
        export_pose(bare_weights, folder / "bare.onnx")
        export_pose(weights, folder / "unfolded.onnx", fold=False)
        export_pose(weights, folder / "folded.onnx")
    width, height = config.input_size_wh
    return {
        "name": config.name,
        "weights": source,
        "input_size": f"{height}x{width}",
        "deconv_channels": config.deconv_channels if "resnet" in config.name else None,
    }


def _network(options: CostOptions) -> tuple[PoseCheckpoint, str]:
    """The requested network at the requested size, and the origin of its weights."""
    import torch

    from engine.backends.pose_graph import load_pose
    from models.build import build_from_config
    from models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, PoseCheckpoint
    from models.pose_model import MODEL_NAMES, PoseModelConfig, parse_size

    name = options.pose_model
    try:
        changed: dict[str, Any] = {"input_size_wh": parse_size(options.input_size)} if options.input_size else {}
        if name in MODEL_NAMES and name not in bundled_pose_models():
            if options.deconv_channels is not None:
                changed["deconv_channels"] = options.deconv_channels
            config = PoseModelConfig(name=name, num_keypoints=COCO17.num_keypoints, **changed)
            torch.manual_seed(0)
            model = build_from_config(config).eval()
            fields: dict[str, Any] = {"skeleton": COCO17.to_dict(), "class_names": ("person",), "notes": {}}
            return PoseCheckpoint(model=model, mean=IMAGENET_MEAN, std=IMAGENET_STD, **fields), "random weights"
        if options.deconv_channels is not None:
            raise OptionError("--deconv-channels is for networks with random weights; here the weights define it")
        shipped = bundled_pose_models()
        if name is not None and not Path(name).suffix and name not in shipped:
            raise ModelError(f"unknown pose model '{name}'.{nearest_hint(name, {*shipped, *MODEL_NAMES})}")
        file = resolve_pose_model(name)
        if file.suffix.lower() != ".safetensors":
            raise ModelError(f"{file} is an exported form; expected the .safetensors file it was exported from")
        checkpoint, _ = load_pose(file)
        model = build_from_config(dataclasses.replace(checkpoint.config, **changed))
    except ValueError as error:
        raise OptionError(f"{name or 'the default model'}: {error}") from error
    model.load_state_dict(checkpoint.model.state_dict())
    return dataclasses.replace(checkpoint, model=model.eval()), file.name


@contextlib.contextmanager
def open_forms(runtime: str, precision: str, options: CostOptions, folder: Path) -> Iterator[dict[str, Backend]]:
    """The three forms on a runtime.

    Raises:
        BackendError: it cannot run here, or not in that precision.
    """
    with contextlib.ExitStack() as opened:
        found: dict[str, Backend] = {}
        for form in FORMS:
            if runtime == "torch":
                backend = _open_torch(form, precision, options, folder)
            else:
                backend = open_pose_backend(
                    folder / f"{form}.onnx",
                    backend=runtime,
                    precision=precision,
                    device=options.device,
                    threads=options.threads,
                ).backend
            found[form] = opened.enter_context(backend)
        yield found


def _open_torch(form: str, precision: str, options: CostOptions, folder: Path) -> Backend:
    from engine.backends import torch as torch_backend

    weights = folder / ("bare.safetensors" if form == "bare" else "kcam.safetensors")
    requested = OpenOptions(precision=precision, device=options.device, threads=options.threads)
    probe = torch_backend.probe(options.device.partition(":")[0])
    if not probe.usable:
        raise BackendError(f"torch cannot run here: {probe.detail}")
    return torch_backend.TorchBackend(weights, requested, fold=form == "folded")
