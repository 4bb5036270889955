"""Every option that writes, over every input of its command, in every spelling: nothing that was there is replaced."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

import main
from app.launch import check_status_file
from engine.artifacts.folders import WEIGHTS_DIR
from engine.errors import OutputError
from tests.engine.clips import ClipSpec, make_clip, picture, save_photo
from tests.faults.ledger import ROOT, Fault
from tests.faults.light import Run, command
from tests.faults.test_entry_points import FILES as ENTRY_POINTS
from tests.faults.test_entry_points import module_of
from tests.screenshots import SCENES

__all__ = ["command"]

pytestmark = pytest.mark.fault("written files")


@dataclass(frozen=True)
class Command:
    """A command: its words with `{name}` for inputs, its options that write, and what lets it replace a file.

    Attributes:
        fills: what it writes is a folder, which must be new or empty.
    """

    words: str
    writes: tuple[str, ...]
    overwrite: str = "--overwrite"
    fills: bool = False

    @property
    def inputs(self) -> list[str]:
        return [word[1:-1] for word in self.words.split() if word.startswith("{")]


NAMES = {
    "video": "walk.mp4", "photo": "photo.png", "photos": "photos", "weights": "w.safetensors", "detector": "d.onnx",
    "data": "ds", "boxes": "boxes.json", "labels": "labels.json", "poses": "poses", "add": "earlier.json",
    "run": "run", "list": "list.ffconcat",
}  # fmt: skip
MEMBERS = {"photos": "a.png", "data": "val.json", "poses": "walk.jsonl", "run": "log.csv", "list": "walk.mp4"}
"""A file that is read with an input that is a folder or a list."""

COMMANDS = (
    Command("main --benchmark --video {video} --pose-model {weights} --detector {detector}", ("--report", "--plot")),
    Command("main --benchmark --video {video} --data {data} --boxes {boxes}", ("--report", "--plot")),
    Command(
        "main --video {video} --pose-model {weights} --boxes {boxes} --background {photo}",
        ("--output", "--poses", "--attention-maps"),
    ),
    Command("main --video {video} --pose-model {weights} --detector {detector}", ("--output", "--poses")),
    Command("main --video {list} --pose-model {weights}", ("--output", "--poses")),
    Command("main --video {photo} --pose-model {weights}", ("--output", "--poses")),
    Command("main --video {photos} --pose-model {weights}", ("--poses",)),
    Command("engine.__main__ cost --pose-model {weights}", ("--report",)),
    Command("engine.__main__ build --pose-model {weights} --photos {photos}", ("--output",), "--force"),
    Command("engine.__main__ build --detector {detector}", ("--output",), "--force"),
    Command(
        "engine.__main__ build --pose-model {weights} --precision int8 --calibrate {video}", ("--output",), "--force"
    ),
    Command("train.evaluate --weights {weights} --data {data} --boxes {boxes}", ("--report", "--results", "--save")),
    Command("train.figures --weights {weights} --image {photo} --detector {detector}", ("--output",)),
    Command("train.combine --weights {weights}", ("--output",)),
    Command("train.agreement --weights {weights} --data {data}", ("--report",)),
    Command("train.id_check --labels {labels} --poses {poses}", ("--report",)),
    Command("train.clip_check --labels {labels} --poses {poses}", ("--report",)),
    Command("train.tradeoff --weights {weights} --data {data} --add {add}", ("--report", "--output")),
    Command("train.detector_recall --detector {detector} --data {data}", ("--report", "--detections")),
    Command("train.curves --run {run}", ("--output",)),
    Command("train.detector_average --weights {detector} --shares 1", ("--output",)),
    Command(
        "train.end_to_end --data {data} --pose-model {weights} --detector {detector} --boxes {boxes}", ("--report",)
    ),
    Command("tests.draw_architecture", ("--output",)),
    Command("tests.screenshots --pose-model {weights} --detector {detector}", ("--folder",), fills=True),
    Command(
        "train.pseudo_label --images {photos} --data {data} --weights {weights} --detector {detector}",
        ("--output",), "", fills=True,
    ),
    Command(
        "train.__main__ --data {data} --init {weights} --teacher {weights} --boxes {boxes} --model kcam_resnet18",
        ("--output",), "", fills=True,
    ),
    Command(
        "train.ablate --table 1 --data {data} --init {weights} --teacher {weights} --boxes {boxes}",
        ("--output",), "", fills=True,
    ),
    Command("train.detector.training --data {data} --init {detector}", ("--output",), "", fills=True),
)  # fmt: skip
CASES = [(one, option) for one in COMMANDS for option in one.writes]
SUFFIXES = {"--plot": ".png", "--poses": ".json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs, of which those that are opened before the guard are real."""
    folder = tmp_path_factory.mktemp("made")
    make_clip(folder / "walk.mp4", ClipSpec(frames=5, size_wh=(64, 48)))
    save_photo(folder / "photo.png", picture(64, 48, 0))
    for name in ("photos", "ds", "poses", "run"):
        (folder / name).mkdir()
    save_photo(folder / "photos" / "a.png", picture(64, 48, 1))
    shutil.copy(min(WEIGHTS_DIR.glob("*.safetensors")), folder / "w.safetensors")
    (folder / "list.ffconcat").write_text("ffconcat version 1.0\nfile walk.mp4\n")
    for name in ("d.onnx", "boxes.json", "labels.json", "earlier.json", "ds/val.json", "ds/train.json",
                 "poses/walk.jsonl", "run/log.csv"):  # fmt: skip
        (folder / name).write_text(f"precious: {name}")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of the inputs (hard links would make each the other)."""
    return Path(shutil.copytree(made, tmp_path / "place", copy_function=shutil.copy))


def spellings(file: Path) -> Iterator[Path]:
    """The file under its own name, in another spelling, and through links."""
    links = file.parent / "links"
    links.mkdir(exist_ok=True)
    yield file
    yield file.parent / "links" / ".." / file.name
    for kind, make in (("soft", os.symlink), ("hard", os.link)):
        for suffix in {file.suffix, ".mp4", ".json", ".png", ".safetensors", ".onnx", ".npz"}:
            link = links / f"{kind}_{file.stem}{suffix}"
            if not link.exists():
                make(file, link)
            yield link


def content_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """What stands in the files, as far as a replacement or a write would show."""
    found: dict[str, tuple[object, ...]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            status = file.stat()
            with file.open("rb") as stream:
                head = stream.read(4096)
            found[str(file.relative_to(folder))] = (status.st_ino, status.st_size, status.st_mtime_ns, head)
    return found


Called = Callable[[list[str]], tuple[int, str]]


@pytest.fixture
def call(command: Run, capfd: pytest.CaptureFixture[str]) -> Called:
    """A command in this process: its exit code and what it says on stderr."""

    def run(words: list[str]) -> tuple[int, str]:
        if words[0] == "main":
            done = command(*words[1:])
            return done.code, done.err
        capfd.readouterr()
        try:
            code = importlib.import_module(words[0]).main(words[1:])
        except SystemExit as ended:
            code = int(str(ended.code))
        return code, capfd.readouterr().err

    return run


def words_of(one: Command, place: Path) -> list[str]:
    return [str(place / NAMES[word[1:-1]]) if word.startswith("{") else word for word in one.words.split()]


GUARDED = ("is the input itself", "is a file of the input", "exists already", "is a link to", "is a folder",
           "is a device", "and that is the input", "cannot both be written", "is a file: name a folder")  # fmt: skip
BY_NAME = ("must end with", "no format for the poses file", "a name that ends in")
"""A name that does not fit is refused before the guard is asked."""


def refusals(
    one: Command, option: str, words: list[str], file: Path, *, place: Path, call: Called, fault: Fault
) -> list[str]:
    """What a command says to each spelling of a file that it must not replace."""
    messages = []
    for spelling in list(spellings(file)):
        before = content_of(place)
        code, err = call([*words, option, str(spelling), *one.overwrite.split()])
        fault.keeps(content_of(place) == before, f"{one.words} {option} {spelling}: {err}")
        fault.quiet(err)
        assert code == 2, f"{one.words} {option} {spelling}: exit code {code}: {err}"
        assert any(text in err for text in GUARDED + BY_NAME), err
        messages.append(err)
    return messages


def checked(messages: list[str], fault: Fault) -> None:
    """Count the refusals, enough of which must be the guard's."""
    guarded = sum(any(text in message for text in GUARDED) for message in messages)
    assert guarded >= len(messages) / 8, "the guard was never asked"
    fault.more(len(messages))


@pytest.mark.parametrize(("one", "option"), CASES, ids=lambda case: case if isinstance(case, str) else case.words[:40])
def test_no_input_is_replaced(one: Command, option: str, place: Path, call: Called, fault: Fault) -> None:
    """Not even where files may be replaced."""
    messages: list[str] = []
    for name in one.inputs:
        read = place / NAMES[name]
        for file in {read, read / MEMBERS[name] if read.is_dir() else place / MEMBERS.get(name, NAMES[name])}:
            if file.is_dir():
                continue
            messages += refusals(one, option, words_of(one, place), file, place=place, call=call, fault=fault)
    checked(messages, fault)


def data_elsewhere(place: Path, kind: str) -> tuple[Path, list[Path]]:
    """A data set that names files outside of its folder, and those files."""
    far = place / "far" / "away"
    names = ["images/train/a.png", "images/val/b.png", "labels/train/a.txt", "labels/val/b.txt", "listed/c.png",
             "listed/c.txt"]  # fmt: skip
    for name in names:
        (far / name).parent.mkdir(parents=True, exist_ok=True)
        (far / name).write_text(f"precious: {name}")
    labels = '{"images": [{"file_name": "NAME"}]}'
    if kind == "yaml":
        (far / "test.txt").write_text("listed/c.png\n")
        data = place / "set.yaml"
        data.write_text(f"path: {far}\ntrain: images/train\nval: [images/val]\ntest: test.txt\n")
        return data, [far / "test.txt", *(far / name for name in names)]
    data = place / kind
    data.mkdir()
    if kind == "linked pictures":
        (data / "train").symlink_to(far / "images" / "train")
        return data, [far / "images" / "train" / "a.png"]
    (data / "annotations").mkdir()
    (data / "train2017").mkdir()
    (data / "val.json").write_text(labels.replace("NAME", str(far / "images" / "val" / "b.png")))
    (data / "annotations" / "person_keypoints_train2017.json").write_text(
        labels.replace("NAME", "../../far/away/images/train/a.png")
    )
    return data, [far / "images" / "val" / "b.png", far / "images" / "train" / "a.png"]


@pytest.mark.parametrize("kind", ["yaml", "linked pictures", "pictures named by path"])
@pytest.mark.parametrize(
    ("one", "option"), [case for case in CASES if "data" in case[0].inputs],
    ids=lambda case: case if isinstance(case, str) else case.words[:40],
)  # fmt: skip
def test_no_file_that_a_data_set_names_is_replaced(
    *, one: Command, option: str, kind: str, place: Path, call: Called, fault: Fault
) -> None:
    data, files = data_elsewhere(place, kind)
    words = [str(data) if word == str(place / NAMES["data"]) else word for word in words_of(one, place)]
    messages: list[str] = []
    for file in files:
        messages += refusals(one, option, words, file, place=place, call=call, fault=fault)
    checked(messages, fault)


@pytest.mark.parametrize(("one", "option"), CASES, ids=lambda case: case if isinstance(case, str) else case.words[:40])
def test_no_stranger_is_replaced_unasked(one: Command, option: str, place: Path, call: Called, fault: Fault) -> None:
    """Files of other programs, folders, links to nothing, devices."""
    tried = 0
    for suffix in (".json", ".png", ".mp4", ".onnx", ".safetensors", ".csv"):
        stranger, dangling, folder = (place / f"{kind}{suffix}" for kind in ("stranger", "dangling", "folder"))
        stranger.write_text("notes of a person")
        dangling.symlink_to(place / "nowhere")
        folder.mkdir()
        overwrite = one.overwrite.split()
        for target, extra in ((stranger, []), (dangling, []), (dangling, overwrite), (folder, overwrite)):
            if target == folder and (one.fills or (option == "--output" and one.words.startswith("main --video"))):
                continue  # means a file in that folder
            before = content_of(place)
            code, err = call([*words_of(one, place), option, str(target), *extra])
            fault.keeps(content_of(place) == before, f"{one.words} {option} {target}: {err}")
            fault.quiet(err)
            assert code == 2, f"{one.words} {option} {target} {extra}: exit code {code}: {err}"
            assert any(text in err for text in GUARDED + BY_NAME), err
            tried += 1
    fault.more(tried)


@pytest.mark.parametrize(("one", "option"), CASES, ids=lambda case: case if isinstance(case, str) else case.words[:40])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    *, one: Command, option: str, place: Path, call: Called, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """An evaluation measured for minutes, and then had nowhere to put its report."""
    locked, access = place / "locked", os.access
    locked.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    monkeypatch.setattr("engine.artifacts.part_file.make_folder", lambda _folder: pytest.fail("it was asked too late"))
    suffixes = (".json", ".png", ".mp4", ".onnx", ".safetensors", ".csv", ".npz")
    said = []
    for suffix in suffixes:
        for target in (locked / f"new{suffix}", locked / "deeper" / f"new{suffix}"):
            code, err = call([*words_of(one, place), option, str(target)])
            fault.quiet(err)
            assert code == 2, f"{one.words} {option} {target}: exit code {code}: {err}"
            said.append(f"cannot write in {locked}: Permission denied" in err)
            assert said[-1] or any(text in err for text in BY_NAME), err
    assert any(said)
    assert not list(locked.iterdir())
    fault.more(len(said))


WRITES_NOTHING = {"tests.endurance", "tests.paint_benchmark"}
ELSEWHERE = {"main --status-json", "train.__main__ --config"}
"""Has a test of its own below; gives values of other options."""


class Parsed(Exception):
    """Carries the parser of a command, in place of its work."""


def file_options(name: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The options of a command (module, and perhaps a subcommand) whose values are files or folders."""

    def caught(parser: argparse.ArgumentParser, *_given: object) -> NoReturn:
        raise Parsed(parser)

    module, _, sub = name.partition(" ")
    with monkeypatch.context() as patch, pytest.raises(Parsed) as found:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", caught)
        importlib.import_module(module).main(["--table", "1"] if module == "train.ablate" else [])
    parser = found.value.args[0]
    if sub:
        parser = next(one.choices for one in parser._actions if isinstance(one, argparse._SubParsersAction))[sub]
    return {action.option_strings[0] for action in parser._actions if action.option_strings and takes_file(action)}


def takes_file(action: argparse.Action) -> bool:
    if "FILE" in str(action.metavar) or "DIR" in str(action.metavar):
        return True
    try:
        return isinstance(action.type("x.txt"), Path) if callable(action.type) else False
    except (ValueError, argparse.ArgumentTypeError):
        return False


def test_every_option_that_names_a_file_is_tried(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """An option that is added stands above, as an input or among those that write."""
    tried: dict[str, set[str]] = {}
    for one in COMMANDS:
        words = one.words.split()
        sub = words[1] if words[0] == "engine.__main__" else ""
        options = {word for word in words if word.startswith("--")} | set(one.writes)
        tried.setdefault(f"{words[0]} {sub}".strip(), set()).update(options)
    commands = {module_of(file) for file in ENTRY_POINTS} - {"engine.__main__", "train.detector.__main__"}
    assert commands - WRITES_NOTHING <= set(tried), "an entry point is missing above"
    for name, options in tried.items():
        missing = file_options(name, monkeypatch) - options
        assert {f"{name} {option}" for option in missing} <= ELSEWHERE
    fault.more(len(tried))


def test_what_comes_beside_an_output_is_guarded(place: Path, call: Called, fault: Fault) -> None:
    """The plot of a report, the sheet of a figure, the spec of an ONNX file."""
    cases = (
        ("main --benchmark --video {video} --report", "notes.json", "notes.png"),
        ("train.figures --weights {weights} --image {photo} --output", "fig.png", "fig_sheet.png"),
        ("engine.__main__ build --pose-model {weights} --output", "net.onnx", "net.onnx.spec.json"),
        ("train.detector_average --weights {detector} --shares 1 --output", "mean.onnx", "mean.onnx.spec.json"),
    )
    for words, output, beside in cases:
        (place / beside).write_text("precious")
        code, err = call([*words_of(Command(words, ()), place), str(place / output)])
        assert code == 2 and beside in err and "exists already" in err, err
        fault.keeps((place / beside).read_text() == "precious", beside)
    fault.more(len(cases))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["video", "photo"])
def test_an_input_with_the_name_of_the_part_file(
    kind: str, overwrite: bool, place: Path, command: Run, fault: Fault
) -> None:
    """As after a crash, when a person goes on from what was left."""
    suffix = ".mp4" if kind == "video" else ".png"
    part = place / f"left.part{suffix}"
    shutil.copy(place / NAMES[kind], part)
    before = content_of(place)
    done = command("--video", part, "--output", place / f"left{suffix}", *["--overwrite"] * overwrite)
    assert "until it is whole, and that is the input" in fault.refused(done.code, done.err)
    fault.keeps(content_of(place) == before, "the part file was renamed")


@pytest.mark.parametrize(
    "left",
    ["best.safetensors", "last.safetensors", "config.json", "debug/epoch_0001_val.png", "log/version_0/metrics.csv",
     "tensorboard/notes", "checkpoints/mine.ckpt", "debug", "log"],
)  # fmt: skip
def test_a_training_keeps_the_weights_of_another(
    left: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: Fault
) -> None:
    """Also where its checkpoints were deleted."""
    (tmp_path / "out" / left).parent.mkdir(parents=True)
    (tmp_path / "out" / left).write_text("precious")
    words = ["--model", "kcam_resnet18", "--data", str(tmp_path / "ds"), "--output", str(tmp_path / "out")]
    assert importlib.import_module("train.__main__").main(words) == 2
    err = capfd.readouterr().err
    assert any(text in err for text in ("exists already", "is not empty", "is a file: name a folder")), err
    fault.keeps((tmp_path / "out" / left).read_text() == "precious", left)


@pytest.mark.parametrize(
    "left", ["dataset/data.yaml", "dataset/labels/train/1.txt", "run/args.yaml", "start.pt", "out.onnx"]
)
def test_a_training_of_a_detector_keeps_what_was_there(
    left: str, place: Path, capfd: pytest.CaptureFixture[str], fault: Fault
) -> None:
    file = place / "out" / left
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    before = content_of(place)
    words = ["--data", str(place / "ds"), "--output", str(place / "out")]
    assert importlib.import_module("train.detector.training").main(words) == 2
    assert "--resume" in capfd.readouterr().err
    fault.keeps(content_of(place) == before, left)


@pytest.mark.parametrize("scene", SCENES)
def test_screenshots_keep_what_was_there(scene: str, place: Path, call: Called, fault: Fault) -> None:
    """A picture of the person, or, through a link, the weights that are shown."""
    for content, extra in (("picture", []), ("weights", ["--overwrite"])):
        folder = place / content
        folder.mkdir()
        target = folder / f"window-{scene}.png"
        if content == "picture":
            target.write_text("precious")
        else:
            os.link(place / "w.safetensors", target)
        before = content_of(place)
        code, err = call(
            ["tests.screenshots", "--folder", str(folder), "--pose-model", str(place / "w.safetensors"), *extra]
        )
        assert code == 2 and any(text in err for text in GUARDED), err
        fault.keeps(content_of(place) == before, scene)
    fault.more(2)


def test_the_picture_of_the_rooms_is_renewed(place: Path, call: Called, fault: Fault) -> None:
    """Unasked, because it is the program's own; the program's files are not."""
    own = place / "rooms.svg"
    assert call(["tests.draw_architecture", "--output", str(own)])[0] == 0
    assert call(["tests.draw_architecture", "--output", str(own)])[0] == 0
    before = (ROOT / "main.py").read_bytes()
    code, err = call(["tests.draw_architecture", "--output", str(ROOT / "main.py"), "--overwrite"])
    assert code == 2 and "is the input itself" in err
    fault.keeps((ROOT / "main.py").read_bytes() == before, "main.py")


def test_a_status_file_replaces_only_a_status_file(place: Path, fault: Fault) -> None:
    own = place / "status.json"
    own.write_text('{"fps": 1, "latency_ms": null, "stages_ms": {}, "frames_painted": 3}')
    check_status_file(main.read_options(["--source", str(place / "walk.mp4"), "--status-json", str(own)]))
    targets = [place / name for name in ("walk.mp4", "boxes.json", "photo.png", "w.safetensors", "list.ffconcat")]
    for target in targets:
        for source in ("walk.mp4", "list.ffconcat", "photos", "demo"):
            asked = ["--source", str(place / source), "--status-json", str(target)]
            for words in (asked, [*asked, "--overwrite"]):
                replaceable = len(words) > len(asked) and target.name not in (source, MEMBERS.get("list", ""))
                if replaceable or (source != "list.ffconcat" and len(words) > len(asked) and target.name != source):
                    continue
                with pytest.raises(OutputError):
                    check_status_file(main.read_options(words))
    fault.more(len(targets) * 4)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_device_is_no_file(place: Path, call: Called, fault: Fault) -> None:
    pipe = place / "pipe.json"
    os.mkfifo(pipe)
    words = words_of(Command("main --benchmark --video {video} --overwrite --report", ()), place)
    code, err = call([*words, str(pipe)])
    assert code == 2 and "is a device or a pipe" in err, err
    fault.keeps(pipe.exists(), "the pipe was replaced")
