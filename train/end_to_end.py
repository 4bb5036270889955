"""`python -m train.end_to_end`: COCO keypoint AP of the whole program, detector and pose network, as main.py runs it.

`train.evaluate` measures a pose network, by default with labelled boxes; this measures what comes out on photos with
the given options, thresholds and false-positive filter included. `main.py --benchmark --data DIR` runs it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.write_guard import check_targets
from engine.errors import OptionError, SourceError
from engine.option_table import add_options, check_options, described, option, options_of
from engine.options import PoseOptions
from engine.pipeline.opening import open_pipeline
from engine.pipeline.options import PipelineOptions
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import Frame
from models.checkpoints import write_atomically
from train.command import reports_errors
from train.data.boxes import category_id, image_indices
from train.data.dataset import ImageStore, without_broken
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.evaluation.coco_eval import MAIN_METRICS, coco_result, keypoint_ap
from train.paper.tables import number


@dataclass(frozen=True, kw_only=True)
class EndToEndOptions(PoseOptions):
    """A measurement; the options of the program choose what runs."""

    data: Path = field(metadata=described("data set, as python -m train takes it", Path, required=True))
    split: str = option("val", "val or train ({default})")
    report: Path | None = option(None, "write the numbers as JSON", Path, metavar="FILE.json")
    overwrite: bool = option(False, "replace a file that exists")

    def __post_init__(self) -> None:
        check_options(self)


def pipeline_options(options: EndToEndOptions) -> PipelineOptions:
    """What runs, on pictures that do not follow each other."""
    chosen = PoseOptions(**{item.name: getattr(options, item.name) for item in options_of(PoseOptions)})
    return PipelineOptions.of(chosen, live=False, still=True, overlapping=False)


def measure(options: EndToEndOptions) -> dict[str, Any]:
    """AP over a split, and what has run.

    Raises:
        EngineError: data set or networks cannot be used, or name different keypoints.
    """
    people = read_people(options.data, options.split)
    images = ImageStore(people, keep=False)
    with open_pipeline(pipeline_options(options), notify=print) as pipeline:
        if pipeline.skeleton.keypoint_names != people.skeleton.keypoint_names:
            name = pipeline.describe()["pose_model"]
            raise OptionError(f"{name} and {people.origin} name different keypoints")
        results: list[dict[str, Any]] = []
        for image_id, index in image_indices(people).items():
            try:
                image = images[index]
            except SourceError as error:
                images.broken[index] = str(error)
                continue
            pipeline.restart()
            poses = pipeline.process(Frame(image_bgr=image, index=index, timestamp_s=0.0, is_still=True)).poses
            keypoints = np.concatenate([poses.keypoints_xy, poses.scores[..., None]], axis=2)
            results += [
                coco_result(image_id, points, float(score), category_id(people))
                for points, score in zip(keypoints, poses.person_scores, strict=True)
            ]
        runs = pipeline.describe()
    return _report(options, without_broken(people, images), results, runs, len(images.broken))


def _report(
    options: EndToEndOptions, people: PeopleSet, results: list[dict[str, Any]], runs: dict[str, Any], broken: int
) -> dict[str, Any]:
    metrics = keypoint_ap(people.ground_truth, results, people.skeleton.oks_sigmas)
    return {
        "data": str(options.data),
        "split": options.split,
        "pictures": len(people.ground_truth["images"]) - broken,
        "broken": broken,
        "people": len(people.people),
        "found": len(results),
        "metrics": {name: round(float(metrics[name]), 2) for name in MAIN_METRICS},
        "runs": runs,
    }


@reports_errors("train.end_to_end")
def main(argv: list[str] | None = None) -> int:
    """Measure; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.end_to_end", description="COCO keypoint AP of the whole program.")
    add_options(parser, EndToEndOptions)
    options = EndToEndOptions(**vars(parser.parse_args(argv)))
    read = (options.data, options.pose_model, options.detector, options.boxes)
    check_targets([options.report], inputs=read, overwrite=options.overwrite)
    report = measure(options)
    runs = report["runs"]
    print(
        f"{runs['pose_model']} on {runs['backend']} {runs['precision']} with {runs['detector']}: {report['data']} "
        f"{report['split']}, {report['pictures']} pictures, {report['people']} people, {report['found']} found"
    )
    print("  ".join(f"{name:>6}" for name in MAIN_METRICS))
    print("  ".join(f"{number(report['metrics'][name]):>6}" for name in MAIN_METRICS))
    if options.report is not None:
        write_atomically(options.report, (json.dumps(report, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
