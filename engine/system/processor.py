"""The name and features of the processor, and the output of short system commands."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

# Features that decide which low precision is fast; Linux names.
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def processor() -> tuple[str, tuple[str, ...]]:
    """Name of the processor, and those of CPU_FEATURES that it has, where the system reports them."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        text = listing.read_text(encoding="utf-8", errors="replace")
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
        known = set(flags.group(1).split()) if flags else set()
        return (
            name.group(1).strip() if name else platform.machine(),
            tuple(feature for feature in CPU_FEATURES if feature in known),
        )
    if sys.platform == "darwin":
        brand = output_of(["sysctl", "-n", "machdep.cpu.brand_string"])
        return brand or platform.processor(), ()
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor() or platform.machine(), ()


def output_of(command: list[str]) -> str:
    """Stdout of a short command; empty where it fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
