"""Who may import whom (docs/decisions/0003-import-table.md), read from the source with `ast`."""

from __future__ import annotations

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "engine", "train", "app")

STARRED = ("types", "errors", "skeleton", "geometry", "heatmap", "model_spec", "other_files")
"""Files of engine/ that training shares: numpy, cv2, the standard library and each other, nothing else."""
STANDARD_ONLY = ("missing", "ultralytics_env", "openvino_env", "one_line_parser")
"""Files of engine/ that must work when nothing else does; training may use them, too."""
SHARED = tuple(f"engine.{name}" for name in (*STARRED, *STANDARD_ONLY))

TORCH_FILES = ("engine.pose_graph", "engine.graph_decode")
"""Files of engine/ that are torch modules themselves; to the others they are what torch is."""
HEAVY = ("torch", "models", "ultralytics", *TORCH_FILES)
BUILD = (*HEAVY, "onnx", "onnxslim", "onnxruntime", "openvino", "nncf", "tensorrt", "tensorrt_rtx", "torch2trt")
"""What building a network may take: it runs in a child process."""
TRAIN = ("train", "models", "torch", "lightning", "ultralytics", "pycocotools", "cv2", "numpy", "tensorboard", "tqdm",
         "matplotlib", "yaml", "psutil", *SHARED, "engine.backends", "engine.compiler", "engine.model_files",
         "engine.detector", "engine.parity")  # fmt: skip
PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What files that match a pattern may import; names stand for themselves and what is below them."""

    pattern: str
    always: tuple[str, ...] = ()
    lazily: tuple[str, ...] = field(default=())


# The first pattern that matches a file is its rule. The standard library is always allowed, except what PICKLES names.
RULES = (
    Rule(
        pattern="models/checkpoints.py",
        always=("models", "torch", "safetensors"),
        lazily=("torchvision", "timm", "huggingface_hub"),
    ),
    Rule(pattern="models/*", always=("models", "torch", "safetensors")),
    Rule(pattern="engine/ultralytics_env.py", lazily=("ultralytics",)),
    *(Rule(pattern=f"engine/{name}.py") for name in STANDARD_ONLY if name != "ultralytics_env"),
    *(Rule(pattern=f"engine/{name}.py", always=("numpy", "cv2", *SHARED)) for name in STARRED),
    Rule(pattern="engine/pose_graph.py", always=("torch", "models", "engine.graph_decode")),
    Rule(pattern="engine/graph_decode.py", always=("torch", *SHARED)),
    *(
        Rule(pattern=pattern, always=("engine", "numpy", "cv2", "av", "platformdirs"), lazily=lazily)
        for pattern, lazily in (
            ("engine/compiler.py", BUILD),
            ("engine/onnx_export.py", BUILD),
            ("engine/quantize.py", BUILD),
            ("engine/strong_typing.py", ("onnx",)),
            ("engine/box_suppression.py", ("onnx",)),
            ("engine/trt_build.py", BUILD),
            ("engine/torch2trt_build.py", BUILD),
            ("engine/engine_build.py", BUILD),
            ("engine/detector_export.py", BUILD),
            ("engine/detector_adopt.py", BUILD),
            ("engine/device_cuda.py", HEAVY),
            ("engine/tracking.py", HEAVY),
            ("engine/benchmark_ultralytics.py", HEAVY),
            ("engine/kcam_forms.py", HEAVY),
            ("engine/benchmark_report.py", ("matplotlib",)),
            ("engine/backends/torch*.py", HEAVY),
            ("engine/backends/t*rt*.py", (*HEAVY, "tensorrt", "tensorrt_rtx")),
            ("engine/backends/onnxruntime*.py", ("onnxruntime",)),
            ("engine/backends/openvino*.py", ("openvino",)),
            ("engine/*", ("cv2_enumerate_cameras", "tqdm")),
        )
    ),
    Rule(pattern="train/detector_start.py", always=TRAIN, lazily=("onnx",)),
    Rule(pattern="train/detector_average.py", always=TRAIN, lazily=("onnx",)),
    Rule(pattern="train/*", always=TRAIN),
    Rule(pattern="app/*", always=("app", "engine", "PyQt5", "pyqtgraph", "numpy", "cv2", "platformdirs")),
    Rule(pattern="main.py", lazily=("engine", "app")),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Import:
    module: str
    line: int
    lazy: bool


def imports_of(tree: ast.AST, lazy: bool = False) -> Iterator[Import]:
    """Every import of a syntax tree; lazy are those inside a function or seen by type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(module=name.name, line=node.lineno, lazy=lazy) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from engine import compiler` is an import of engine.compiler; a name of a package's own does no harm.
            whole = [f"{module}.{name.name}" for name in node.names] if module in PACKAGES else [module]
            yield from (Import(module=name, line=node.lineno, lazy=lazy) for name in whole)
        elif isinstance(node, ast.Call) and _called(node) in ("__import__", "importlib.import_module", "import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(module=first.value, line=node.lineno, lazy=lazy)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        yield from imports_of(node, lazy or inside or only_types)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def breaches(path: str, source: str) -> list[str]:
    """What a file (path from the root, with slashes) imports against the rules, and loads that run foreign code."""
    tree = ast.parse(source)
    rule = next((rule for rule in RULES if fnmatch.fnmatch(path, rule.pattern)), None)
    assert rule is not None, f"no rule covers {path}"
    found = []
    for item in imports_of(tree):
        top = item.module.partition(".")[0]
        if item.module.startswith("."):
            found.append(f"{path}:{item.line} imports relatively; imports are absolute here")
        elif top in PICKLES:
            found.append(f"{path}:{item.line} imports {item.module}; reading a pickle runs the code in it")
        elif top in sys.stdlib_module_names:
            continue
        elif within(item.module, rule.lazily):
            if not item.lazy:
                found.append(f"{path}:{item.line} imports {item.module} at the top; only inside a function")
        elif within(item.module, TORCH_FILES) and item.module not in rule.always:
            found.append(f"{path}:{item.line} imports {item.module}, which imports torch; {rule.pattern} may not")
        elif not within(item.module, rule.always):
            found.append(f"{path}:{item.line} imports {item.module}; {rule.pattern} may not")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "torch.load" and not _weights_only(node):
            found.append(f"{path}:{node.lineno} calls torch.load without weights_only=True")
    return found


def _weights_only(node: ast.Call) -> bool:
    return any(
        keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in node.keywords
    )


def product_files() -> list[str]:
    files = [ROOT / "main.py"]
    for package in PACKAGES:
        files += (ROOT / package).rglob("*.py")
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


@pytest.mark.parametrize("path", product_files())
def test_imports_keep_to_the_table(path: str) -> None:
    found = breaches(path, (ROOT / path).read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    assert [path for path in product_files() if Path(path).name in ("utils.py", "helpers.py", "misc.py")] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/kcam.py", "import numpy"),
        ("models/kcam.py", "from engine.types import Frame"),
        ("models/hrnet.py", "def f():\n    import timm"),
        ("models/checkpoints.py", "import torchvision"),
        ("engine/geometry.py", "from engine.pipeline import PosePipeline"),
        ("engine/geometry.py", "def f():\n    import torch"),
        ("engine/types.py", "from engine import sources"),
        ("engine/missing.py", "import numpy"),
        ("engine/ultralytics_env.py", "import ultralytics"),
        ("engine/pipeline.py", "def f():\n    import torch"),
        ("engine/pipeline.py", "def f():\n    from models import checkpoints"),
        ("engine/pipeline.py", "def f():\n    import onnxruntime"),
        ("engine/pipeline.py", "import train.evaluate"),
        ("engine/overlay.py", "from PyQt5 import QtGui"),
        ("engine/compiler.py", "import torch"),
        ("engine/compiler.py", "try:\n    import onnx\nexcept ImportError:\n    pass"),
        ("engine/backends/torch.py", "class A:\n    import torch"),
        ("engine/backends/openvino.py", "def f():\n    import onnxruntime"),
        ("engine/backends/onnxruntime.py", "import importlib\nonnxruntime = importlib.import_module('onnxruntime')"),
        ("engine/sources.py", "def f():\n    import app"),
        ("engine/sources.py", "def f():\n    from engine.pose_graph import PoseGraph"),
        ("engine/compiler.py", "from engine.pose_graph import PoseGraph"),
        ("engine/pose_graph.py", "import cv2"),
        ("train/evaluate.py", "from engine.pipeline import PosePipeline"),
        ("train/evaluate.py", "from engine import pipeline"),
        ("train/evaluate.py", "import PyQt5.QtCore"),
        ("train/evaluate.py", "from . import data"),
        ("app/worker.py", "def f():\n    import torch"),
        ("app/worker.py", "import models.kcam"),
        ("app/worker.py", "__import__('openvino')"),
        ("main.py", "from engine.errors import EngineError"),
        ("main.py", "def f():\n    import numpy"),
        ("engine/export.py", "import pickle"),
        ("train/data.py", "def f():\n    from joblib import load"),
        ("models/checkpoints.py", "import torch\ntorch.load('x.pth')"),
        ("models/checkpoints.py", "import torch\ntorch.load('x.pth', weights_only=False)"),
    ],
)
def test_a_breach_is_seen(path: str, source: str) -> None:
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/checkpoints.py", "import json\nimport torch\ndef f():\n    import timm"),
        ("models/checkpoints.py", "import torch\ntorch.load('x.pth', weights_only=True)"),
        ("engine/geometry.py", "import cv2\nimport numpy as np\nfrom engine.types import Frame"),
        ("engine/pipeline.py", "from engine.geometry import warp_crops"),
        ("engine/pipeline.py", "text = 'import torch'"),
        ("engine/compiler.py", "def f():\n    from engine.pose_graph import PoseGraph"),
        ("engine/compiler.py", "def f():\n    import torch\n    from models.checkpoints import load_pose_model"),
        ("engine/backends/torch.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("train/evaluate.py", "from engine.backends import open_pose_backend\nfrom engine import heatmap"),
        ("app/worker.py", "from engine.pipeline import PosePipeline\nimport PyQt5.QtCore"),
        ("main.py", "import argparse\ndef f():\n    from engine.doctor import run_doctor"),
    ],
)
def test_what_the_table_allows_is_not_a_breach(path: str, source: str) -> None:
    assert breaches(path, source) == []


IMPORT_ALL_WITHOUT = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

TORCH_FILES = sys.argv[1].split(",")
BLOCKED = set(sys.argv[2:])
sys.meta_path.insert(0, Blocker())
import engine
names = [info.name for info in pkgutil.walk_packages(engine.__path__, "engine.") if not info.name.endswith("__main__")]
names = [name for name in names if name not in TORCH_FILES]
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
        [sys.executable, "-c", IMPORT_ALL_WITHOUT, ",".join(TORCH_FILES), *blocked],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(STARRED)
