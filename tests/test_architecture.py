"""Import rules (docs/architecture.md), checked on the source with `ast`: one rule per room."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "engine", "train", "app")

VOCABULARY = ("types", "skeleton", "geometry", "heatmap", "angles")
"""Files at the root of engine/ that all rooms may import."""
ENGINE_ORDER = (
    ("system",), ("errors",), ("option_table",), ("options",), ("vocabulary",), ("artifacts",),
    ("sources", "overlay"), ("backends",), ("detection",), ("tracking",),
    ("build",), ("pipeline",), ("output",), ("benchmark",), ("root",),
)  # fmt: skip
"""Rooms of engine/; each imports itself and those before it."""

APP_ORDER = ("live", "widgets", "output")
"""Rooms of app/; each imports those before it."""

RUNTIMES = ("torch", "models", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx")
BUILDERS = (*RUNTIMES, "onnxslim", "nncf", "torch2trt", "ultralytics")
PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a room may import besides itself, the standard library and, in engine/, the rooms before it.

    Names stand for themselves and what is below them; `never` takes out of `always`.
    """

    always: tuple[str, ...] = ()
    lazily: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


COMMON = ("numpy", "cv2")
ENGINE_FOR_TRAIN = tuple(
    f"engine.{room}"
    for room in (
        *VOCABULARY,
        "errors",
        "option_table",
        "options",
        "system",
        "artifacts",
        "sources",
        "overlay",
        "backends",
        "detection",
        "tracking",
        "build",
        "pipeline",
    )
)
ROOMS: Mapping[str, Rule] = {
    "models": Rule(always=("models", "torch", "safetensors", "numpy"),
                   lazily=("torchvision", "timm", "huggingface_hub")),
    "engine.system": Rule(lazily=("ultralytics",)),
    # The standard library alone: `main.py --help` works with nothing installed.
    "engine.errors": Rule(),
    "engine.option_table": Rule(),
    "engine.options": Rule(),
    "engine.vocabulary": Rule(always=COMMON, lazily=("supervision",)),
    "engine.artifacts": Rule(always=(*COMMON, "platformdirs", "filelock", "safetensors"), lazily=("yaml",)),
    "engine.sources": Rule(always=(*COMMON, "av"), lazily=("cv2_enumerate_cameras",)),
    "engine.overlay": Rule(always=COMMON),
    "engine.backends": Rule(always=COMMON, lazily=RUNTIMES),
    "engine.detection": Rule(always=COMMON),
    "engine.tracking": Rule(always=COMMON, lazily=("trackers", "supervision")),
    "engine.build": Rule(always=COMMON, lazily=BUILDERS),
    "engine.pipeline": Rule(always=COMMON),
    "engine.output": Rule(always=(*COMMON, "av", "tqdm"), lazily=("tqdm", "websockets", "pythonosc")),
    "engine.benchmark": Rule(always=COMMON, lazily=("torch", "models", "ultralytics", "matplotlib", "tqdm")),
    "engine.root": Rule(lazily=("av",)),
    "train": Rule(
        always=(
            "train", "models", "torch", "lightning", "ultralytics", "pycocotools", "cv2", "numpy", "tensorboard",
            "tqdm",
            "matplotlib", "yaml", "psutil", *ENGINE_FOR_TRAIN,
        ),
        lazily=("onnx", "scipy"),
    ),
    "app": Rule(
        always=("app", "engine", "PyQt5", "pyqtgraph", "numpy", "cv2", "platformdirs"),
        # Of the backends their contract, of the build what can be built and that it runs.
        never=tuple(
            f"engine.backends.{name}"
            for name in ("torch", "tensorrt", "tensorrt_rtx", "openvino", "onnxruntime", "pose_graph", "trt_runtime")
        ) + tuple(f"engine.build.{name}" for name in ("onnx_export", "engine_build", "quantize", "tensorrt_build")),
    ),
    "main": Rule(always=("engine.system",), lazily=("engine", "app")),
}  # fmt: skip

TORCH_MODULES = ("engine.backends.pose_graph", "engine.backends.graph_decode")
"""Modules that import torch and so count as torch."""


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(module: str) -> str:
    """The room of a module: `engine.build` for engine.build.quantize, `train` for all of train."""
    top, _, rest = module.partition(".")
    if top != "engine":
        return top
    first = rest.partition(".")[0]
    if first in VOCABULARY:
        return "engine.vocabulary"
    return f"engine.{first}" if any(first in level for level in ENGINE_ORDER) else "engine.root"


def level_of(room: str) -> int:
    name = room.removeprefix("engine.")
    return next(index for index, level in enumerate(ENGINE_ORDER) if name in level)


@dataclass(frozen=True, kw_only=True)
class Import:
    module: str
    line: int
    lazy: bool


def imports_of(tree: ast.AST, known: frozenset[str] = frozenset(), lazy: bool = False) -> Iterator[Import]:
    """Every import of a syntax tree; lazy are those inside a function or seen by type checkers only.

    Args:
        known: modules of the program, so that `from engine.build import quantize` is seen as a module.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(module=name.name, line=node.lineno, lazy=lazy) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for name in node.names:
                inner = f"{module}.{name.name}"
                yield Import(module=inner if inner in known else module, line=node.lineno, lazy=lazy)
        elif isinstance(node, ast.Call) and _called(node) in ("__import__", "importlib.import_module", "import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(module=first.value, line=node.lineno, lazy=lazy)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        yield from imports_of(node, known, lazy or inside or only_types)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def within(module: str, allowed: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def product_files() -> list[str]:
    files = [ROOT / "main.py"]
    for package in PACKAGES:
        files += (ROOT / package).rglob("*.py")
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


KNOWN = frozenset(module_of(path) for path in product_files())


def breaches(path: str, source: str) -> list[str]:
    """What a file (path from the root, with slashes) imports against its room's rule, and unsafe loads."""
    tree = ast.parse(source)
    own = module_of(path)
    room = room_of(own)
    found = []
    for item in imports_of(tree, KNOWN):
        why = _why_not(own, room, item)
        if why is not None:
            found.append(f"{path}:{item.line} imports {item.module}{why}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "torch.load" and not _weights_only(node):
            found.append(f"{path}:{node.lineno} calls torch.load without weights_only=True")
    return found


def _why_not(own: str, room: str, item: Import) -> str | None:  # noqa: PLR0911 - one line a rule
    """Why an import is a breach; None if it is allowed."""
    rule, module = ROOMS[room], item.module
    top = module.partition(".")[0]
    if module.startswith("."):
        return ": relative; imports are absolute here"
    if top in PICKLES:
        return "; reading a pickle runs the code in it"
    if top in sys.stdlib_module_names:
        return None
    if own in TORCH_MODULES and top in ("torch", "models"):
        return None
    if within(module, TORCH_MODULES) and own not in TORCH_MODULES and not item.lazy:
        return ", which imports torch; only inside a function"
    if top == "engine" and room.startswith("engine."):
        target = room_of(module)
        if target == room or module == "engine" or level_of(target) < level_of(room):
            return None
        return f": {target} does not stand before {room}"
    if within(module, rule.never):
        return f"; {room} may not"
    if within(module, rule.always):
        return None
    if within(module, rule.lazily):
        return None if item.lazy else " at the top; only inside a function"
    return f"; {room} may not"


def _weights_only(node: ast.Call) -> bool:
    return any(
        keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in node.keywords
    )


def test_imports_keep_to_the_rooms() -> None:
    found = [line for path in product_files() for line in breaches(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_the_rooms_of_the_window_import_one_way() -> None:
    upward = [
        f"{own} imports {other}"
        for own, others in program_imports().items()
        for other in others
        for level, room in enumerate(APP_ORDER)
        if own.startswith(f"app.{room}.") and within(other, [f"app.{later}" for later in APP_ORDER[level + 1 :]])
    ]
    assert upward == []


def circles(imported: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by way of others (Tarjan's strongly connected parts)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in imported.get(module, set()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in imported:
        if module not in index:
            visit(module)
    return found


def program_imports() -> dict[str, set[str]]:
    """By module of the program, those of the program that it imports, lazily or not."""
    imported = {}
    for path in product_files():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        own = module_of(path)
        imported[own] = {item.module for item in imports_of(tree, KNOWN) if item.module in KNOWN} - {own}
    return imported


def test_no_cycles_lazy_imports_included() -> None:
    assert circles(program_imports()) == []


def test_a_cycle_is_detected() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_every_room_states_its_purpose() -> None:
    silent = [path for path in product_files() if path.endswith("__init__.py") and path.count("/") == 2]
    silent = [path for path in silent if not ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))]
    assert silent == []


def test_the_diagram_matches_the_imports() -> None:
    from tests.draw_architecture import PICTURE, arrows, import_counts

    assert escape(arrows(import_counts())) in PICTURE.read_text(encoding="utf-8"), "make architecture"


def test_no_file_is_a_utility_module() -> None:
    assert [path for path in product_files() if Path(path).name in ("utils.py", "helpers.py", "misc.py")] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/kcam.py", "import cv2"),
        ("models/kcam.py", "from engine.types import Frame"),
        ("models/checkpoints.py", "import torchvision"),
        ("engine/geometry.py", "from engine.pipeline.pose_pipeline import PosePipeline"),
        ("engine/geometry.py", "def f():\n    import torch"),
        ("engine/types.py", "from engine.sources import opening"),
        ("engine/options.py", "from engine.types import Frame"),
        ("engine/option_table.py", "def f():\n    import numpy"),
        ("engine/system/missing.py", "import numpy"),
        ("engine/system/ultralytics_env.py", "import ultralytics"),
        ("engine/pipeline/pose_pipeline.py", "def f():\n    import torch"),
        ("engine/pipeline/pose_pipeline.py", "def f():\n    from models import checkpoints"),
        ("engine/pipeline/pose_pipeline.py", "import train.evaluate"),
        ("engine/pipeline/pose_pipeline.py", "def f():\n    from engine.output.export import export"),
        ("engine/overlay/drawing.py", "from PyQt5 import QtGui"),
        ("engine/overlay/drawing.py", "from engine.sources import photos"),
        ("engine/artifacts/compiler.py", "def f():\n    from engine.build import onnx_export"),
        ("engine/backends/tensorrt.py", "def f():\n    from engine.build import parity_gate"),
        ("engine/backends/openvino.py", "try:\n    import onnx\nexcept ImportError:\n    pass"),
        ("engine/backends/torch.py", "class A:\n    import torch"),
        ("engine/backends/torch.py", "from engine.backends.pose_graph import PoseGraph"),
        ("engine/backends/onnxruntime.py", "import importlib\nonnxruntime = importlib.import_module('onnxruntime')"),
        ("engine/sources/opening.py", "def f():\n    import app"),
        ("train/evaluate.py", "from engine.output import export"),
        ("train/evaluate.py", "import PyQt5.QtCore"),
        ("train/evaluate.py", "from . import data"),
        ("app/worker.py", "def f():\n    import torch"),
        ("app/worker.py", "import models.kcam"),
        ("app/worker.py", "from engine.backends import openvino"),
        ("app/worker.py", "__import__('openvino')"),
        ("main.py", "from engine.errors import EngineError"),
        ("main.py", "def f():\n    import numpy"),
        ("engine/output/export.py", "import pickle"),
        ("train/data.py", "def f():\n    from joblib import load"),
        ("models/checkpoints.py", "import torch\ntorch.load('x.pth')"),
        ("models/checkpoints.py", "import torch\ntorch.load('x.pth', weights_only=False)"),
    ],
)
def test_a_breach_is_detected(path: str, source: str) -> None:
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/checkpoints.py", "import json\nimport torch\ndef f():\n    import timm"),
        ("models/checkpoints.py", "import torch\ntorch.load('x.pth', weights_only=True)"),
        ("engine/geometry.py", "import cv2\nimport numpy as np\nfrom engine.types import Frame"),
        ("engine/pipeline/pose_pipeline.py", "from engine.geometry import warp_crops\nfrom engine import build"),
        ("engine/pipeline/pose_pipeline.py", "text = 'import torch'"),
        ("engine/build/onnx_export.py", "def f():\n    from engine.backends.pose_graph import PoseGraph"),
        ("engine/backends/pose_graph.py", "import torch\nfrom models.kcam import KCAM"),
        ("engine/backends/torch.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("train/evaluate.py", "from engine.backends import open_pose_backend\nfrom engine import heatmap"),
        ("app/worker.py", "from engine.pipeline.pose_pipeline import PosePipeline\nimport PyQt5.QtCore"),
        ("main.py", "import argparse\ndef f():\n    from engine.doctor import run_doctor"),
    ],
)  # fmt: skip
def test_allowed_imports_are_no_breach(path: str, source: str) -> None:
    assert breaches(path, source) == []


IMPORT_ALL_WITHOUT = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

TORCH_MODULES = sys.argv[1].split(",")
BLOCKED = set(sys.argv[2:])
sys.meta_path.insert(0, Blocker())
import engine
names = [info.name for info in pkgutil.walk_packages(engine.__path__, "engine.") if not info.name.endswith("__main__")]
names = [name for name in names if name not in TORCH_MODULES]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_engine_imports_without_torch_runtimes_and_qt() -> None:
    blocked = [
        "torch", "torchvision", "models", "ultralytics", "tensorrt", "tensorrt_rtx", "onnxruntime", "openvino", "onnx",
        "nncf", "PyQt5", "lightning", "timm", "train", "app",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL_WITHOUT, ",".join(TORCH_MODULES), *blocked],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(VOCABULARY)
