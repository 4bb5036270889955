"""`make architecture`: docs/architecture.svg, generated from the imports: which room imports from which.

A row is a room, with the sentence of its `__init__.py`; a number in it counts the imports from the room of that column.
Rooms are in the order in which they may import each other, so every number is left of the diagonal.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path

from engine.artifacts.atomic import replacing
from engine.artifacts.write_guard import check_targets
from engine.errors import reports_errors
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from tests.test_architecture import ENGINE_ORDER, ROOT, VOCABULARY, product_files, program_imports, room_of

PICTURE = ROOT / "docs" / "architecture.svg"

SENTENCES = {
    "models": "The networks in PyTorch.",
    "engine.vocabulary": f"{', '.join(VOCABULARY)}: what every room shares.",
    "engine.root": "doctor, the commands of python -m engine, the Python API.",
    "train": "Data, training, evaluation, the paper's tables.",
    "app": "The window.",
    "main": "Argument parsing only.",
}
_TITLE = "Which room imports from which"
_ROW, _CELL, _LEFT, _TOP = 30, 34, 760, 132


def rooms() -> list[str]:
    """All rooms, each after those that it may import."""
    return ["models", *(f"engine.{room}" for level in ENGINE_ORDER for room in level), "train", "app", "main"]


def import_counts() -> Counter[tuple[str, str]]:
    """Imports between rooms, by (importing, imported)."""
    return Counter(
        (room_of(module), room_of(other))
        for module, others in program_imports().items()
        for other in others
        if room_of(module) != room_of(other) and other != "engine"
    )


def arrows(counts: Iterable[tuple[str, str]]) -> str:
    """Which room imports from which, in words: what a test compares, so that a new import alone changes no picture."""
    return "; ".join(f"{importing} from {imported}" for importing, imported in sorted(counts))


def sentence(room: str) -> str:
    """The purpose of a room, in one line."""
    if room in SENTENCES:
        return SENTENCES[room]
    folder = ROOT / room.replace(".", "/")
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split()).partition(". ")[0].rstrip(".") + "."


def draw() -> str:
    """The picture as SVG."""
    names, counts = rooms(), import_counts()
    sizes = Counter(room_of(module) for module in program_imports())
    width, height = _LEFT + _CELL * len(names) + 24, _TOP + _ROW * len(names) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f"<desc>{escape(arrows(counts))}</desc>",
        f'<text x="24" y="36" font-size="17" font-weight="bold" fill="#1c2733">{_TITLE}</text>',
        '<text x="24" y="58" fill="#5b6b7b">A row imports from the columns with a number (how many imports).</text>',
    ]
    for row, room in enumerate(names):
        y = _TOP + _ROW * row
        if row % 2 == 0:
            parts.append(f'<rect x="16" y="{y}" width="{width - 32}" height="{_ROW}" fill="#f4f7fa"/>')
        title = room.removesuffix(".root") if room != "main" else "main.py"
        modules = f"{sizes[room]} file{'s' if sizes[room] != 1 else ''}"
        parts += [
            _text(24, y + 20, title, weight="bold"),
            _text(176, y + 20, modules, color="#5b6b7b"),
            _text(240, y + 20, sentence(room), color="#1c2733"),
            f'<text transform="translate({_LEFT + _CELL * row + 21} {_TOP - 8}) rotate(-55)" fill="#1c2733">'
            f"{escape(title.removeprefix('engine.'))}</text>",
        ]
        for column, other in enumerate(names):
            x = _LEFT + _CELL * column
            if column == row:
                parts.append(f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_ROW}" fill="#1c2733"/>')
            elif counts[room, other]:
                parts += [_cell(x, y, counts[room, other], allowed=column < row)]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: int, y: int, text: str, *, color: str = "#1c2733", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" fill="{color}" font-weight="{weight}">{escape(text)}</text>'


def _cell(x: int, y: int, count: int, *, allowed: bool) -> str:
    strength = min(1.0, 0.25 + count / 40)
    fill = f"rgb({round(255 - 225 * strength)},{round(255 - 120 * strength)},{round(255 - 60 * strength)})"
    ink = "#ffffff" if strength > 0.5 else "#1c2733"
    return (
        f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_ROW - 2}" rx="4" '
        f'fill="{fill if allowed else "#d64545"}"/>'
        f'<text x="{x + _CELL / 2}" y="{y + 20}" text-anchor="middle" fill="{ink}">{count}</text>'
    )


@reports_errors("draw_architecture")
def main(argv: list[str] | None = None) -> int:
    """Write the picture."""
    parser = OneLineParser(prog="python -m tests.draw_architecture")
    parser.add_argument("--output", type=Path, default=PICTURE, help="SVG to write (docs/architecture.svg)")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    check_targets(
        [arguments.output],
        inputs=[ROOT / file for file in product_files()],
        overwrite=arguments.overwrite,
        is_own=is_picture,
    )
    with replacing(arguments.output) as temporary:
        temporary.write_text(draw(), encoding="utf-8")
    print(arguments.output)
    return 0


def is_picture(file: Path) -> bool:
    """Whether a file is an earlier such picture."""
    with file.open("rb") as stream:
        return stream.read(4) == b"<svg" and f">{_TITLE}<".encode() in stream.read(2**16)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
