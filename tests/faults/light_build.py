"""`python -m tests.faults.light_build WEIGHTS SECONDS`: requests a file of the cache, with a fake build.

The built graph is an identity with a valid spec; everything else is the program's own.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnx import TensorProto, helper

from engine.artifacts import compiler
from engine.artifacts.model_spec import GRAPH_VERSION, digest_of, write_spec
from tests.engine.fakes import pose_spec


def tiny_graph() -> bytes:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "tiny", value[:1], value[1:])
    return bytes(helper.make_model(graph).SerializeToString())


def build(arguments: Sequence[str], notify: compiler.Notify = compiler.discard_notice) -> Path:
    """Half of the file, a while, and the rest."""
    output, weights = Path(arguments[-1]), Path(arguments[1])
    built = tiny_graph()
    with output.open("wb") as file:
        file.write(built[:20])
        file.flush()
        time.sleep(float(sys.argv[2]))
        file.write(built[20:])
    spec = replace(
        pose_spec(),
        file_sha256=hashlib.sha256(built).hexdigest(),
        weights_sha256=digest_of(weights),
        graph_version=GRAPH_VERSION,
    )
    write_spec(output, spec)
    return output


if __name__ == "__main__":
    compiler.run_build = build
    print(compiler.ensure_onnx(Path(sys.argv[1])))
