"""Hostile weights files; each maker writes one and returns it."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.skeleton import COCO17

CONFIG = {"name": "kcam_resnet18", "num_keypoints": 17, "input_size_wh": [96, 128], "deconv_channels": 16}
VALUES: dict[str, Any] = {
    "config": CONFIG,
    "skeleton": COCO17.to_dict(),
    "class_names": ["person"],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


class Touches:
    """Creates a file when unpickled, which shows that it ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (open, (self.marker, "w"))


def pickles(folder: Path, marker: Path) -> dict[str, bytes]:
    """Pickles that would run code, by kind."""
    evil = Touches(marker)
    found = {f"protocol {n}": pickle.dumps({"state_dict": evil}, protocol=n) for n in range(6)}
    name = str(marker).encode()
    found["os.system by opcode"] = b"cos\nsystem\n(S'touch " + name + b"'\ntR."
    found["builtins.eval by opcode"] = b"cbuiltins\neval\n(S'open(\"" + name + b'", "w")\'\ntR.'
    found["INST"] = b"(S'touch " + name + b"'\nios\nsystem\n."
    found["OBJ"] = b"(cos\nsystem\nS'touch " + name + b"'\no."
    found["getattr chain"] = b"cbuiltins\ngetattr\n(cos\nsystem\nS'__call__'\ntR(S'touch " + name + b"'\ntR."
    found["torch's own function"] = b"ctorch.serialization\nload\n(S'/dev/zero'\ntR."
    found["numpy scalar with code"] = b"cnumpy\nload\n(S'/dev/zero'\nNI01\ntR."
    found["only a module"] = b"cantigravity\nx\n."
    buffer = io.BytesIO()
    torch.save({"model": evil}, buffer)
    found["a whole checkpoint"] = buffer.getvalue()
    buffer = io.BytesIO()
    torch.save({"model": evil}, buffer, _use_new_zipfile_serialization=False)
    found["a whole checkpoint of the old form"] = buffer.getvalue()
    return found


def zip_with(
    path: Path, data_pkl: bytes, compression: int = zipfile.ZIP_STORED, more: dict[str, bytes] | None = None
) -> Path:
    """A checkpoint in the zip format, written manually."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    return path


def packed_bomb(path: Path) -> Path:
    """200 MiB of zeros in 200 KiB."""
    return zip_with(path, b"\0" * (200 * 1024 * 1024), zipfile.ZIP_DEFLATED)


def overlapping_bomb(path: Path) -> Path:
    """A thousand entries that are all the same megabyte of the file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", b"\0" * (1024 * 1024))
        for number in range(1, 1000):
            again = copy.copy(archive.filelist[1])
            again.filename = f"archive/data/{number}"
            archive.filelist.append(again)
    return path


def endless_view(path: Path) -> Path:
    """A tensor of 4 PiB that repeats four bytes."""
    torch.save({"final_layer.weight": torch.zeros(1).expand(1 << 30, 1 << 20)}, path)
    return path


def safetensors(path: Path, tensors: dict[str, Any], data: bytes = b"", metadata: Any = None) -> Path:
    """A safetensors file with any header."""
    header = dict(tensors)
    if metadata is not None:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def ours(**changed: Any) -> dict[str, str]:
    """Metadata of a pose model of ours, with other values."""
    return {"kcam": json.dumps({**VALUES, **changed})}


def tensor(shape: list[int], start: int, end: int, dtype: str = "F16") -> dict[str, Any]:
    """An entry of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


FORGED_SAFETENSORS: dict[str, Callable[[Path], Path]] = {
    "a shape larger than its data": lambda p: safetensors(p, {"a": tensor([1000], 0, 4)}, b"1234", ours()),
    "a shape whose product overflows": lambda p: safetensors(p, {"a": tensor([2**40] * 3, 0, 4)}, b"1234", ours()),
    "a shape of four exabytes": lambda p: safetensors(p, {"a": tensor([2**61], 0, 2**62)}, b"1234", ours()),
    "a negative dimension": lambda p: safetensors(p, {"a": tensor([-2], 0, 4)}, b"1234", ours()),
    "overlapping tensors": lambda p: safetensors(
        p, {"a": tensor([2], 0, 4), "b": tensor([2], 2, 6)}, b"123456", ours()
    ),
    "two tensors in one place": lambda p: safetensors(
        p, {"a": tensor([2], 0, 4), "b": tensor([2], 0, 4)}, b"1234", ours()
    ),
    "a hole between tensors": lambda p: safetensors(
        p, {"a": tensor([2], 0, 4), "b": tensor([2], 8, 12)}, b"123456789012", ours()
    ),
    "an end before the start": lambda p: safetensors(p, {"a": tensor([2], 4, 0)}, b"1234", ours()),
    "data behind the last tensor": lambda p: safetensors(p, {"a": tensor([2], 0, 4)}, b"1234" * 100, ours()),
    "an unknown dtype": lambda p: safetensors(p, {"a": tensor([2], 0, 4, "X9")}, b"1234", ours()),
    "complex numbers": lambda p: safetensors(p, {"a": tensor([1], 0, 8, "C64")}, b"12345678", ours()),
    "tensors that are a list": lambda p: safetensors(p, {"a": [1, 2]}, b"1234", ours()),
    "no tensors at all": lambda p: safetensors(p, {}, b"", ours()),
    "a network of many gigabytes": lambda p: safetensors(
        p, {"a": tensor([2], 0, 4)}, b"1234", ours(config={**CONFIG, "name": "kcam_resnet152", "deconv_channels": 4096})
    ),
    "half a keypoint": lambda p: safetensors(p, {}, b"", ours(config={**CONFIG, "num_keypoints": 17.5})),
    "a million keypoints": lambda p: safetensors(p, {}, b"", ours(config={**CONFIG, "num_keypoints": 10**6})),
    "an infinite input": lambda p: safetensors(p, {}, b"", ours(config={**CONFIG, "input_size_wh": [1e400, 64]})),
    "a configuration that is a list": lambda p: safetensors(p, {}, b"", ours(config=["name"])),
    "a field nobody knows": lambda p: safetensors(p, {}, b"", ours(config={**CONFIG, "__class__": "x"})),
    "a skeleton that is a number": lambda p: safetensors(p, {}, b"", ours(skeleton=3)),
    "means that are words": lambda p: safetensors(p, {}, b"", ours(mean=["a", "b", "c"])),
    "an infinite mean": lambda p: safetensors(p, {}, b"", ours(mean=[10**400, 0, 0])),
    "notes that are a list": lambda p: safetensors(p, {}, b"", ours(notes=[1])),
    "metadata that is a list": lambda p: safetensors(
        p, {}, b"", {"kcam": json.dumps(["config", "skeleton", "class_names", "mean", "std"])}
    ),
    "metadata 50,000 levels deep": lambda p: safetensors(p, {}, b"", {"kcam": "[" * 50_000 + "]" * 50_000}),
    "a header 50,000 levels deep": lambda p: _raw(p, b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a header of 20 MB": lambda p: _raw(p, b'{"__metadata__":{"a":"' + b"x" * 20_000_000 + b'"}}'),
    "a header of 2^63 bytes": lambda p: _raw(p, b"{}", length=2**63),
    "a number of 10,000 digits": lambda p: _raw(p, b'{"a":' + b"9" * 10_000 + b"}"),
    "a pickle under another name": lambda p: _written(p, pickle.dumps({"a": 1})),
}


def _raw(path: Path, header: bytes, length: int | None = None) -> Path:
    return _written(path, struct.pack("<Q", len(header) if length is None else length) + header)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
