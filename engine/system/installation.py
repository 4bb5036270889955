"""How the program was installed, and the commands that follow from it; standard library only."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the folder that the package was installed into."""
DISTRIBUTION = "kcam-pose"


def is_checkout() -> bool:
    """Whether the program runs from its source folder, rather than as an installed package."""
    return (ROOT / "requirements.txt").is_file()


def installed_version(name: str) -> str | None:
    """The version of an installed package, None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def program_command() -> str:
    """What a person types to start the program."""
    return "python main.py" if is_checkout() else DISTRIBUTION


def install_command(extra: str) -> str:
    """The command that installs a set of packages: "run", "train" (which includes it), "tensorrt" or "rtx"."""
    if is_checkout():
        return f"python -m pip install -r {'requirements.txt' if extra == 'train' else f'requirements-{extra}.txt'}"
    named = DISTRIBUTION if extra == "run" else f'"{DISTRIBUTION}[{extra}]"'
    return f"python -m pip install {named}"
