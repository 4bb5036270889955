"""A made-up data set of stick people, small enough to train on in a test."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ("head", "left_hand", "right_hand")


def write_people(folder: Path, pictures: int = 6, class_name: str = "stick") -> Path:
    """Write train.json, val.json and their pictures; each picture holds one person of three bright dots."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for index in range(pictures):
            picture = rng.integers(0, 60, (120, 160, 3)).astype(np.uint8)
            x, y = float(rng.uniform(50, 110)), float(rng.uniform(40, 70))
            points = [(x, y - 20), (x + 18, y + 8), (x - 18, y + 8)]
            for (px, py), color in zip(points, ((255, 255, 255), (60, 60, 255), (255, 60, 60)), strict=True):
                cv2.circle(picture, (round(px), round(py)), 5, color, -1)
            cv2.imwrite(str(folder / split / f"{index}.png"), picture)
            images.append({"id": index, "file_name": f"{index}.png", "width": 160, "height": 120})
            annotations.append(
                {
                    "id": index + 1,
                    "image_id": index,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x - 26, y - 28, 52, 46],
                    "area": 52 * 46 * 0.53,
                    "num_keypoints": 3,
                    "keypoints": [value for px, py in points for value in (px, py, 2)],
                }
            )
        category = {"id": 1, "name": class_name, "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3]]}
        content = {"images": images, "annotations": annotations, "categories": [category], "info": {}}
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder
