"""Builds that several tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.build.engine_build import EngineOrder, build_engine

Use = Callable[..., None]
"""Type of the fixture `use_gpu`."""


def build(weights: Path, **fields: object) -> tuple[Path, list[str]]:
    lines: list[str] = []
    order = EngineOrder(model=weights, **{"runtime": "tensorrt", "max_people": 4, **fields})  # type: ignore[arg-type]
    return build_engine(order, lines.append), lines


def distort_attention(outputs: dict[str, np.ndarray]) -> None:
    outputs["attention"] += 0.05
