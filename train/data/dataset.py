"""Crops and target heatmaps for training and evaluation.

What a sample looks like depends on the seed and its key alone, so a run can be repeated and resumed exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypedDict

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.errors import SourceError
from engine.geometry import apply_affines, warp_crops
from engine.heatmap import encode_heatmaps
from engine.system.regular_file import read_regular
from engine.types import Float32Array, UInt8Array
from train.config import TrainConfig
from train.data.augmentation import cut_by_frame, degrade, jitter_color
from train.data.batches import SampleKey
from train.data.people import PeopleSet, Person
from train.data.placement import random_affine
from train.processes import gather

_AUGMENTATION_SEED = 1
"""Last number of the seed for `augmentation`, so that placement and colour do not depend on its options."""


class Sample(TypedDict):
    """One person: crop (H, W, 3) uint8 BGR, targets (K, h, w) float32, weights (K,) float32."""

    crop: Tensor
    targets: Tensor
    weights: Tensor


_FREE_MEMORY_SHARE = 0.25
"""Of all memory, left free by pictures that are kept: COCO's would take about 50 GB."""


class ImageStore:
    """Decoded pictures by index, kept in memory if wanted and as long as there is room.

    Of several processes each keeps its own part of the pictures; the others it decodes whenever they are needed.

    Args:
        people: their pictures.
        keep: whether to keep them.
        rank, world: this process among those that share the pictures.

    Attributes:
        broken: the error of each picture that this process could not decode so far, by index.
    """

    def __init__(self, people: PeopleSet, keep: bool, *, rank: int = 0, world: int = 1) -> None:
        self._files = people.image_files
        self._sizes_wh = people.image_sizes_wh
        self._kept: dict[int, UInt8Array] = {}
        self._keep = keep
        self._rank, self._world = rank, world
        self.broken: dict[int, str] = {}
        # Shared, because loader processes find broken pictures, too, and the run reports how many there were.
        self._met_broken = torch.zeros(len(self._files), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def broken_count(self) -> int:
        """How many pictures could not be decoded so far, here and in loader processes."""
        return int(self._met_broken.sum())

    def is_own(self, index: int) -> bool:
        """Whether this process is the one that checks and keeps a picture."""
        return index % self._world == self._rank

    def __deepcopy__(self, _memo: object) -> ImageStore:
        return self  # weight averaging copies the whole module; the pictures are needed once

    def __getitem__(self, index: int) -> UInt8Array:
        """(H, W, 3) uint8 BGR.

        Raises:
            SourceError: the picture is missing or cannot be decoded.
        """
        if index in self._kept:
            return self._kept[index]
        decoded = self._decode(index)
        if self._keep and self.is_own(index) and self._has_room():
            self._kept[index] = decoded
        return decoded

    def _decode(self, index: int) -> UInt8Array:
        """The picture with its pixels where the labels count them.

        COCO's labels are on the pixels as they are stored, and the official code ignores the EXIF orientation. Only a
        picture whose width and height are exchanged in the labels was labelled as the orientation turns it.
        """
        file, flags = self._files[index], cv2.IMREAD_COLOR
        if self._sizes_wh is not None:
            flags |= cv2.IMREAD_IGNORE_ORIENTATION
        try:
            content = np.frombuffer(read_regular(file), np.uint8)
            image = cv2.imdecode(content, flags)
            if image is not None and self._sizes_wh is not None:
                height, width = image.shape[:2]
                if width != height and self._sizes_wh[index] == (height, width):
                    image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        except (OSError, cv2.error) as error:
            raise SourceError(f"{file} cannot be read: {error}") from error
        if image is None:
            raise SourceError(f"{file} is not a picture that can be decoded")
        return np.asarray(image, np.uint8)

    def _has_room(self) -> bool:
        """Whether one more may be kept; once there was no room, the rest is decoded anew whenever it is needed."""
        memory = psutil.virtual_memory()
        self._keep = memory.available > _FREE_MEMORY_SHARE * memory.total
        if not self._keep:
            print(
                f"memory holds {len(self._kept)} of {len(self._files)} pictures; the others are decoded whenever they "
                "are needed: give the loader more --workers"
            )
        return self._keep

    def mark_broken(self, broken: Mapping[int, str]) -> None:
        """Add the broken pictures that other processes found."""
        for index, reason in broken.items():
            self._met_broken[index] = True
            self.broken.setdefault(index, reason)

    def readable(self, index: int) -> UInt8Array | None:
        """As by index, or None where it cannot be decoded; each of those is reported once."""
        if self._met_broken[index]:
            return None
        try:
            return self[index]
        except SourceError as error:
            self._met_broken[index] = True
            self.broken[index] = str(error)
            print(f"skipped: {error}")
            return None


def without_unreadable(people: PeopleSet, images: ImageStore) -> PeopleSet:
    """The people whose pictures can be decoded; the others are reported.

    Decodes every picture, so that a store that keeps them is full afterwards and forked loader processes share it. Of
    several processes each decodes its part, and all of them have to call this.

    Raises:
        SourceError: no picture can be decoded.
    """
    for index in sorted({person.image for person in people.people if images.is_own(person.image)}):
        images.readable(index)
    images.mark_broken({index: reason for broken in gather(images.broken) for index, reason in broken.items()})
    return without_broken(people, images)


def without_broken(people: PeopleSet, images: ImageStore) -> PeopleSet:
    """The people without those of pictures that the store could not decode; prints how many these are.

    Raises:
        SourceError: no person is left.
    """
    broken = images.broken
    if not broken:
        return people
    left = tuple(person for person in people.people if person.image not in broken)
    print(f"{people.origin}: {len(broken)} pictures skipped, {len(people.people) - len(left)} people with them")
    if people.people and not left:
        first = next(iter(broken.values()))
        raise SourceError(f"{people.origin}: none of its pictures can be decoded; the first: {first}")
    lost = {person.image_id for person in people.people if person.image in broken}
    truth = people.ground_truth
    kept_labels = [label for label in truth["annotations"] if label["image_id"] not in lost]
    return dataclasses.replace(
        people,
        people=left,
        ground_truth={**truth, "annotations": kept_labels},
        complaints=(*people.complaints, *broken.values()),
    )


class TrainDataset(Dataset[Sample]):
    """Augmented crops with their targets at one input size."""

    def __init__(
        self, people: PeopleSet, images: ImageStore, config: TrainConfig, input_size_wh: tuple[int, int]
    ) -> None:
        self._people = people
        self._images = images
        self._config = config
        self._input_size_wh = input_size_wh
        self._heatmap_size_wh = (input_size_wh[0] // 4, input_size_wh[1] // 4)
        self._joint_weights = joint_weights(people.skeleton.keypoint_names)

    def __len__(self) -> int:
        return len(self._people.people)

    def __getitem__(self, key: SampleKey) -> Sample:
        rng = np.random.default_rng((self._config.seed, *key))
        degrading = np.random.default_rng((self._config.seed, *key, _AUGMENTATION_SEED))
        person, image = self._readable(key[1])
        if degrading.random() < self._config.truncation_probability:
            person, image = cut_by_frame(person, image, degrading)
        skeleton = self._people.skeleton
        affine, flipped = random_affine(
            person, self._config, self._input_size_wh, skeleton.upper_body, rng, mirror=self._people.mirrors
        )
        crop = warp_crops(image, affine[None], self._input_size_wh)[0]
        keypoints = apply_affines(affine[None], person.keypoints[None, :, :2])[0]
        visible = person.keypoints[:, 2]
        if flipped:
            order = list(skeleton.flip_order)
            keypoints, visible = keypoints[order], visible[order]
        crop = degrade(crop, self._config, degrading)
        if self._config.color_jitter > 0:
            crop = jitter_color(crop, self._config.color_jitter, rng)
        targets, weights = encode_heatmaps(
            keypoints,
            visible,
            self._input_size_wh,
            self._heatmap_size_wh,
            self._config.target_sigma(self._heatmap_size_wh),
            udp=self._config.pose_model.udp,
        )
        if self._config.joint_weights:
            weights = weights * self._joint_weights
        return {
            "crop": torch.from_numpy(crop),
            "targets": torch.from_numpy(targets),
            "weights": torch.from_numpy(weights),
        }

    def _readable(self, index: int) -> tuple[Person, UInt8Array]:
        """A person and the picture; where it cannot be decoded, the next person whose picture can."""
        for offset in range(len(self)):
            person = self._people.people[(index + offset) % len(self)]
            image = self._images.readable(person.image)
            if image is not None:
                return person, image
        raise SourceError(f"{self._people.origin}: none of its pictures can be decoded")


def joint_weights(names: tuple[str, ...]) -> Float32Array:
    """(K,) float32: the official code's 1.2 for elbows and knees, 1.5 for wrists and ankles, 1 for the rest."""
    by_joint = {"elbow": 1.2, "knee": 1.2, "wrist": 1.5, "ankle": 1.5}
    return np.array([by_joint.get(name.rpartition("_")[2], 1.0) for name in names], np.float32)
