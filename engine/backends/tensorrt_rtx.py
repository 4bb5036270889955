"""TensorRT-RTX, see tensorrt.py."""

from __future__ import annotations

from functools import partial

from engine.backends import tensorrt

probe = partial(tensorrt.probe, package="tensorrt_rtx")
check_precision = partial(tensorrt.check_precision, package="tensorrt_rtx")
open_pose = partial(tensorrt.open_pose, package="tensorrt_rtx")
open_detector = partial(tensorrt.open_detector, package="tensorrt_rtx")
