"""Data sets of strangers: generated COCO and YAML that is nearly right, or nearly endless, is read or refused."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.artifacts.documents import reason
from engine.artifacts.model_files import resolve_pose_model, shipped_export
from engine.artifacts.model_spec import ModelSpec, read_spec
from engine.build.calibration import calibration_crops
from engine.errors import EngineError, SourceError
from tests.faults.ledger import Fault
from tests.train.people_folder import write_people
from train.data.boxes import labelled_boxes, read_detections, read_pictures
from train.data.dataset import ImageStore
from train.data.reading import read_people
from train.detector.yolo_dataset import write_yolo_dataset
from train.evaluation.coco_eval import coco_result, keypoint_ap

pytestmark = pytest.mark.fault("hostile data sets")

EXAMPLES = 250


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("good") / "data", pictures=2)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    weights = resolve_pose_model()
    exported = shipped_export(weights)
    assert exported is not None
    return read_spec(exported)


def use(folder: Path) -> None:
    """All that training and evaluation do with the labels of a split."""
    try:
        people = read_people(folder, "val")
        boxes = labelled_boxes(people)
        images = ImageStore(people, keep=False)
        for index in boxes.images:
            images.readable(index)
        results = [coco_result(person.image_id, person.keypoints, 0.5) for person in people.people]
        metrics = keypoint_ap(people.ground_truth, results, people.skeleton.oks_sigmas)
    except EngineError as error:
        assert str(error).isprintable() and len(str(error)) < 2000
        return
    assert all(math.isfinite(value) for value in metrics.values())


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
        st.sampled_from([10**400, -(10**19), 1e308, 1e-320, "\x00", "../x", "NaN", "", -1, 0, 2**63, 2**31]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
PLACES = [
    ("images",), ("annotations",), ("categories",), ("info",), ("images", 0), ("annotations", 0), ("categories", 0),
    *(("images", 0, key) for key in ("id", "file_name", "width", "height", "source")),
    *(("annotations", 0, key) for key in ("id", "image_id", "category_id", "iscrowd", "bbox", "area", "num_keypoints",
                                          "keypoints", "segmentation")),
    ("annotations", 0, "bbox", 2), ("annotations", 0, "keypoints", 0), ("annotations", 0, "keypoints", 2),
    *(("categories", 0, key) for key in ("id", "name", "keypoints", "skeleton")),
    ("categories", 0, "keypoints", 0), ("categories", 0, "skeleton", 0),
]  # fmt: skip
GONE = object()


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with one value exchanged, or taken out."""
    made = copy.deepcopy(document)
    holder = made
    for key in place[:-1]:
        holder = holder[key]
    if value is GONE:
        holder.pop(place[-1], None) if isinstance(holder, dict) else holder.pop(place[-1])
    else:
        holder[place[-1]] = value
    return made


@pytest.mark.filterwarnings("error")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=VALUES | st.just(GONE))
def test_calibration_with_one_value_exchanged(
    place: tuple[Any, ...], value: Any, good: Path, spec: ModelSpec, fault: Fault
) -> None:
    """An INT8 graph calibrated with what is not in the pictures would be silently bad."""
    fault.more(EXAMPLES)
    folder = good.parent / "calibration"
    if not folder.exists():
        shutil.copytree(good, folder)
    document = json.loads((good / "train.json").read_text())
    (folder / "train.json").write_text(json.dumps(changed(document, place, value)))
    try:
        crops = calibration_crops(str(folder), spec, least=1, most=8, notify=lambda _line: None)
    except EngineError as error:
        assert str(error).isprintable() and len(str(error)) < 2000
        return
    assert all(crop.max() > crop.min() for crop in crops), "a crop of nothing"


def test_a_name_that_is_half_a_character(good: Path, spec: ModelSpec, tmp_path: Path, fault: Fault) -> None:
    """JSON can hold it, and no file system has it."""
    shutil.copytree(good, tmp_path / "data")
    document = json.loads((good / "train.json").read_text())
    document["images"][0]["file_name"] = "\ud800.png"
    for split in ("train", "val"):
        (tmp_path / "data" / f"{split}.json").write_text(json.dumps(document))
    use(tmp_path / "data")
    crops = calibration_crops(str(tmp_path / "data"), spec, least=1, most=8, notify=lambda _line: None)
    whole = calibration_crops(str(good), spec, least=1, most=8, notify=lambda _line: None)
    assert 0 < len(crops) < len(whole), "the people of the other pictures are left"
    fault.more(2)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=VALUES | st.just(GONE))
@example(place=("annotations", 0, "keypoints", 0), value="0")
@example(place=("annotations", 0, "bbox", 2), value="40")
def test_coco_with_one_value_exchanged(place: tuple[Any, ...], value: Any, good: Path, fault: Fault) -> None:
    fault.more(EXAMPLES)
    document = json.loads((good / "train.json").read_text())
    (good / "val.json").write_text(json.dumps(changed(document, place, value)))
    use(good)


TEXTS = {
    "deep lists": "[" * 100_000, "deep objects": '{"a":' * 100_000, "nothing": "", "null": "null", "a number": "7",
    "not UTF-8": "\udcff", "many digits": "1" * 400, "more digits": "1" * 5000, "infinite": "1e999", "NaN": "NaN",
    "cut": '{"images": [', "list": "[]", "text": '"x"', "empty": "{}",
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_json_that_is_no_data_set(kind: str, good: Path, tmp_path: Path, fault: Fault) -> None:
    content = TEXTS[kind].encode("utf-8", "surrogateescape")
    document = (good / "train.json").read_text()
    for text in (
        content,
        document.replace('"id": 0', f'"id": {TEXTS[kind][:6000]}').encode("utf-8", "surrogateescape"),
    ):
        (good / "val.json").write_bytes(text)
        use(good)
        with pytest.raises(SourceError):
            read_detections(good / "val.json", read_people(good, "train"))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "image_info_test2017.json").write_bytes(content)
    with pytest.raises(SourceError):
        read_pictures(tmp_path, "test")
    fault.more(5)


YAML = "path: .\ntrain: images\nval: images\nkpt_shape: [3, 3]\nnames:\n  0: stick\n"
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
HOSTILE = {
    "alias bomb": BOMB,
    "alias bomb as names": BOMB + "names: *a39\n",
    "merge bomb": "a: &a {x: 1}\n" + "".join(f"b{n}: {{<<: [{', '.join(['*a'] * 50)}]}}\n" for n in range(50)),
    "deep": "[" * 50_000,
    "deep maps": "{a: " * 50_000,
    "bad date": "d: 2024-13-45\n",
    "bad time": "d: 2024-01-01 99:99:99\n",
    "Latin-1": "names: [Mu\udcfcller]\n",
    "tag": "a: !!python/object/apply:os.system [id]\n",
    "binary": "a: !!binary '%'\n",
    "many keypoints": "kpt_shape: [30000000, 3]\n",
    "negative": "kpt_shape: [-1, 3]\n",
    "zero": "kpt_shape: [0, 3]\n",
    "infinite": "kpt_shape: [.inf, 3]\n",
    "no number": "kpt_shape: [.nan, 3]\n",
    "null shape": "kpt_shape: null\n",
    "no names": "kpt_names: {}\n",
    "null names": "kpt_names: {0: null}\n",
    "names of numbers": "kpt_names: {0: [1, 2, 3]}\n",
    "null skeleton": "skeleton: null\n",
    "skeleton": "skeleton: [[0, 99]]\n",
    "flip": "flip_idx: [0, 0, 0]\n",
    "flip text": "flip_idx: abc\n",
    "class names": "names: null\n",
    "names number": "names: 7\n",
    "mixed": "names: {0: a, b: c}\n",
    "recursive": "names: &n [*n]\n",
    "folder": "val: [images, [images]]\n",
    "NUL": 'val: "a\\0b"\n',
    "empty": "val: ''\n",
    "same names": "kpt_names: {0: [a, a, a]}\n",
    "escapes": 'kpt_names: {0: ["\\e[2J", b, c]}\n',
    "huge int": "x: " + "9" * 6000,
    "sexagesimal": "kpt_shape: [190:20:30, 3]\n",
    "list": "- a\n- b\n",
    "text": "text",
    "nothing": "",
    "tab": "\t- a",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_yaml_of_a_stranger(kind: str, tmp_path: Path, fault: Fault) -> None:
    """Alone, and behind fields that serve; in a second at the most on a quiet machine."""
    (tmp_path / "images").mkdir()
    for number, text in enumerate((HOSTILE[kind], YAML + HOSTILE[kind])):
        file = tmp_path / f"{number}.yaml"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        started = time.process_time()
        for split in ("train", "val"):
            with pytest.raises(EngineError) as caught:
                read_people(file, split)
            assert str(caught.value).isprintable() and len(str(caught.value)) < 2000
        assert time.process_time() - started < 5
    fault.more(4)


def test_reasons_are_short(fault: Fault) -> None:
    for error in (ValueError("x" * 10**6), KeyError("k" * 10**6), ValueError("a\nb"), ValueError()):
        assert len(reason(error)) < 300 and "\n" not in reason(error)
    fault.more(4)


def test_a_detector_set_writes_only_into_its_folder(tmp_path: Path, fault: Fault) -> None:
    """Whatever a COCO file calls its pictures; and no picture of the person is the one that ultralytics repairs."""
    data = write_people(tmp_path / "data", pictures=2)
    coco = json.loads((data / "train.json").read_text())
    first = coco["images"][0]
    pictures = sorted((data / "train").iterdir())
    whole, cut = pictures[0].read_bytes(), b"\xff\xd8 cut off"
    (data / "notes.jpg").write_bytes(cut)
    (data / "notes.txt").write_text("precious")
    (data / "train" / "deep").mkdir()
    (data / "train" / "deep" / first["file_name"]).write_bytes(whole)
    names = ["../notes.jpg", f"deep/{first['file_name']}", str(data / "notes.jpg"), first["file_name"]]
    coco["images"] = [{**first, "id": number, "file_name": name} for number, name in enumerate(names)]
    (data / "train.json").write_text(json.dumps(coco))
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    write_yolo_dataset(data, tmp_path / "out")
    for file in (tmp_path / "out" / "images" / "train").iterdir():
        if file.read_bytes() == cut:  # as ultralytics repairs it
            file.write_bytes(b"repaired")
    for file, content in before.items():
        fault.keeps(file.read_bytes() == content, str(file))
    fault.keeps({file for file in data.rglob("*") if file.is_file()} == set(before), "a file beside the data")
    written = sorted((tmp_path / "out" / "labels" / "train").iterdir())
    assert len(written) == len({file.stem for file in written}) == len(names)
    fault.more(len(names))


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(
    "value", [None, -1, 10**400, "x", [], {}, math.inf, [0, 0, "x", 1], [0, 0, math.nan, 1]], ids=str
)
def test_a_detector_set_is_read_or_refused(
    place: tuple[str | int, ...], value: object, tmp_path: Path, fault: Fault
) -> None:
    data = write_people(tmp_path / "data", pictures=1)
    coco = json.loads((data / "train.json").read_text())
    at: Any = coco
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    (data / "train.json").write_text(json.dumps(coco))
    try:
        write_yolo_dataset(data, tmp_path / "out")
    except (SourceError, FileNotFoundError) as error:  # a picture of that name is missing
        assert len(str(error)) < 2000
