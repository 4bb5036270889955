"""Failure criteria of the long run."""

from __future__ import annotations

from dataclasses import replace

from tests.endurance import Sample, verdict

FIRST = Sample(at_s=60, memory_mb=500, latency_p50=20, latency_p95=30, fps=30, frames=1800)


def test_growth_delay_and_standstill_are_failures() -> None:
    last = replace(FIRST, at_s=600, frames=18000, memory_mb=540, latency_p50=24)
    assert verdict([FIRST, last]) == []
    assert verdict([FIRST, replace(last, memory_mb=560)]) == ["memory grew by 60 MB, at most 50 allowed"]
    assert verdict([FIRST, replace(last, latency_p50=45)]) == ["the delay went from 20.0 to 45.0 ms"]
    assert verdict([FIRST, replace(last, frames=1800)]) == ["no more frames were painted"]
    assert verdict([FIRST, replace(last, memory_mb=None)]) == []
