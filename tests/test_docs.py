"""The documentation: its commands are those of the program, and its links lead somewhere."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import main
from engine.__main__ import build_parser as engine_parser
from engine.build.options import BuildOptions

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))))
LINKED = (
    *PAGES,
    "CONTRIBUTING.md",
    "SECURITY.md",
    *(
        file.relative_to(ROOT).as_posix()
        for folder in ("docs/decisions", "models/weights")
        for file in (ROOT / folder).glob("*.md")
    ),
)
HISTORY = "docs/results-history.md"
"""Commands of that page were run when it was written."""


def commands(page: str) -> Iterator[list[str]]:
    """The command lines in the indented blocks of a page, in words, without comments."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE):
        if re.match(r"(\S*[/\\])?(python|kcam-pose|make)\b", line):
            yield shlex.split(line.replace("\\", "/"), comments=True)


def engine_options(words: list[str]) -> None:
    given = vars(engine_parser().parse_args(words))
    if given.pop("command") == "build":
        BuildOptions(**given)


def train_options(words: list[str]) -> None:
    parse_options = pytest.importorskip("train.options").parse_options
    parse_options(words)


PROGRAMS: dict[str, Callable[[list[str]], object]] = {
    "main.py": main.read_options, "kcam-pose": main.read_options, "engine": engine_options, "train": train_options,
}  # fmt: skip


def check(words: list[str]) -> bool:
    """Whether a command is one of ours; SystemExit where the program would not take it."""
    program = words[0].rpartition("/")[2]
    rest = words[1:]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in rest), rest
        return True
    if program.startswith("python"):
        if rest[:1] == ["-m"]:
            program, rest = rest[1], rest[2:]
        elif rest:
            program, rest = rest[0], rest[1:]
    if program == "pip":
        for file in (after for word, after in itertools.pairwise(rest) if word == "-r"):
            assert (ROOT / file).is_file(), file
        return True
    if program in PROGRAMS:
        PROGRAMS[program](rest)
        return True
    return False


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY])
def test_every_command_of_a_page_is_understood(page: str) -> None:
    for words in commands(page):
        try:
            check(words)
        except SystemExit as error:
            assert error.code == 0, f"{page}: {shlex.join(words)}"


def test_commands_are_found_at_all_and_a_wrong_one_is_seen() -> None:
    assert sum(check(words) for words in commands("README.md")) > 15
    with pytest.raises(SystemExit):
        check(shlex.split("python main.py --vidoe walk.mp4"))


def test_the_first_page_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED)
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [
        page for page in PAGES[1:] if page != "docs/README.md" and f"({page.removeprefix('docs/')})" not in index
    ] == []
