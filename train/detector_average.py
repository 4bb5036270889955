"""`python -m train.detector_average`: the mean of exported detectors, such as one run gave early and at its end.

The late one knows its training pictures best; a share of the early one makes it steadier on others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.model_spec import ModelSpec, read_spec, sha256_of, spec_path, write_spec
from engine.artifacts.write_guard import check_targets
from engine.errors import ModelError, OptionError
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from models.checkpoints import write_atomically
from train.command import reports_errors


def average(files: Sequence[Path], shares: Sequence[float], output: Path, *, overwrite: bool = False) -> None:
    """Write the weighted mean of detectors that `python -m engine build --detector` made of one architecture.

    Args:
        files: `.onnx` files with their specs beside them; the graph and what is said of it are the first one's.
        shares: of each, positive; they need not add up to 1.
        output: `.onnx` file to write, with its spec.
        overwrite: whether it may replace another.

    Raises:
        OptionError: there is not one positive share a file.
        OutputError: the output exists, or is one of the files.
        ModelError: a file cannot be read, or is of another architecture, input size or classes than the first.
    """
    import onnx
    from onnx import numpy_helper

    if len(shares) != len(files) or not all(0 < share < math.inf for share in shares):
        raise OptionError(f"--shares wants {len(files)} positive numbers, one for each of --weights")
    check_targets([output, spec_path(output)], inputs=files, overwrite=overwrite)
    specs = [_spec(file) for file in files]
    protos = [onnx.load(str(file), load_external_data=False) for file in files]
    tensors = [{tensor.name: tensor for tensor in proto.graph.initializer} for proto in protos]
    for file, spec, proto in zip(files[1:], specs[1:], protos[1:], strict=True):
        if _kind(spec) != _kind(specs[0]) or _layout(proto) != _layout(protos[0]):
            raise ModelError(f"{file} is another network than {files[0]}; only detectors alike have a mean")
    weights = np.array(shares, np.float64) / sum(shares)
    for name, tensor in tensors[0].items():
        values = [numpy_helper.to_array(each[name]) for each in tensors]
        if values[0].dtype.kind == "f":
            mean = sum(weight * value.astype(np.float64) for weight, value in zip(weights, values, strict=True))
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(mean, values[0].dtype), name))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, protos[0].SerializeToString())
    file_hash = sha256_of(output)
    # A mean is not made from the one file that the first spec names, and the path of this machine may ship with it.
    made_with = {what: value for what, value in specs[0].made_with.items() if what != "weights"}
    spec = dataclasses.replace(
        specs[0], name=output.stem, file_sha256=file_hash, weights_sha256=file_hash, made_with=made_with
    )
    write_spec(output, spec)


def _spec(file: Path) -> ModelSpec:
    if not file.is_file():
        raise ModelError(f"{file} does not exist")
    spec = read_spec(file)  # which also compares the file with its hash
    if spec.kind != "detector":
        raise ModelError(f"{file} is no detector; 'python -m engine build --detector' makes one")
    return spec


def _kind(spec: ModelSpec) -> tuple[Any, ...]:
    return spec.input_size_wh, spec.inputs, spec.outputs, spec.class_names


def _layout(proto: Any) -> tuple[Any, ...]:
    """The nodes and what they are tied to, and the weights' types and shapes by name."""
    nodes = [(node.op_type, list(node.input), list(node.output)) for node in proto.graph.node]
    return nodes, {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in proto.graph.initializer}


@reports_errors("train.detector_average")
def main(argv: list[str] | None = None) -> int:
    """Write the file; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.detector_average", description="Average detectors of one run.")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help=".onnx files of 'engine build'")
    parser.add_argument("--shares", type=float, nargs="+", required=True, help="how much each counts")
    parser.add_argument("--output", type=Path, required=True, help=".onnx file to write")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    average(arguments.weights, arguments.shares, arguments.output, overwrite=arguments.overwrite)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
