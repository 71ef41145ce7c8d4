"""Renders scenes with keypoint annotations in COCO's on-disk format.

Tsung-Yi Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.data import MapTasks
from reid.embedded.backgrounds import cast_shadow, draw_background, draw_occluder
from reid.embedded.cameras import CAMERAS, expose
from reid.embedded.contours import mask_to_polygons, mask_to_rle
from reid.embedded.draw import Canvas
from reid.embedded.figure import draw_person
from reid.embedded.keypoints import KEYPOINTS, Annotation, annotation_file, keypoints_in
from reid.embedded.people import sample_person
from reid.embedded.plan import STREAMS
from reid.embedded.sizes import BenchmarkSize
from reid.embedded.skeleton import Joints, View, sample_pose
from reid.embedded.writing import IMAGES_PER_TASK, encode_jpeg
from reid.progress import tracked
from reid.storage import room_for, whole_folder

SPLITS = {"train2017": 0, "val2017": 1}
CROWD_EVERY = 16  # every so many scenes, one has a crowd in the distance

CROWD, OCCLUDER = 1000, 2000  # owners; pedestrians are numbered from 0
MIN_VISIBLE_PIXELS = 60  # a person of whom less is seen is not annotated
MIN_LABELLED_HEIGHT = 40  # smaller people have a box but no keypoints


@dataclass(frozen=True, kw_only=True)
class ScenesTask:
    """A chunk of scenes to render into `root`."""

    root: str
    seed: int
    split: str
    numbers: tuple[int, ...]  # from 1, within the split


@dataclass(frozen=True, kw_only=True)
class SceneRecord:
    """What the annotation file says of one scene."""

    image: Annotation
    annotations: tuple[Annotation, ...]  # ids are given at the end


def render_coco(destination: Path, *, size: BenchmarkSize, seed: int, map_tasks: MapTasks) -> None:
    """Renders train2017/, val2017/ and annotations/person_keypoints_*.json into a new folder.

    The same `size` and `seed` give the same bytes, however `map_tasks` spreads the work.

    Raises:
        FileExistsError: `destination` exists already.
        DiskFullError: there is no room for it.
    """
    counts = {"train2017": size.coco_train_images, "val2017": size.coco_val_images}
    with room_for(destination, size.coco_bytes), whole_folder(destination) as root:
        (root / "annotations").mkdir()
        for split, count in counts.items():
            (root / split).mkdir()
            numbers = range(1, count + 1)
            tasks = [
                ScenesTask(
                    root=str(root), seed=seed, split=split, numbers=tuple(numbers[start : start + IMAGES_PER_TASK])
                )
                for start in range(0, count, IMAGES_PER_TASK)
            ]
            rendered = tracked(
                map_tasks(render_scenes, tasks), f"rendering scenes, {split}", total=count, unit="images", size=len
            )
            records = [record for chunk in rendered for record in chunk]
            content = json.dumps(_annotation_file(split, records))
            (root / "annotations" / f"person_keypoints_{split}.json").write_text(content)


def _annotation_file(split: str, records: list[SceneRecord]) -> Annotation:
    annotations = [annotation for record in records for annotation in record.annotations]
    return annotation_file(f"Rendered pedestrians, {split}", [record.image for record in records], annotations)


def render_scenes(task: ScenesTask) -> list[SceneRecord]:
    """Renders and writes one chunk; returns its annotations."""
    return [_render_scene(task, number) for number in task.numbers]


def _render_scene(task: ScenesTask, number: int) -> SceneRecord:
    rng = np.random.default_rng([task.seed, STREAMS["coco"], SPLITS[task.split], number])
    height, width = (int(side) for side in rng.integers(160, 257, 2))
    camera = CAMERAS[1 + int(rng.integers(len(CAMERAS)))]
    scene = draw_background(camera.background, height, width, rng)
    canvas = Canvas(height, width, camera.light)
    if number % CROWD_EVERY == 1:
        _draw_crowd(canvas, rng, height, width)
    people: list[Joints] = []
    for owner in range(int(rng.integers(1, 5))):
        person = sample_person(rng)
        tall = height * rng.uniform(0.45, 0.9) if rng.random() < 0.85 else rng.uniform(24, 44)
        foot_y = height * rng.uniform(0.9, 1.1) if tall > 0.45 * height else height * rng.uniform(0.7, 0.85)
        view = View(
            yaw=rng.uniform(0, 2 * np.pi),
            pitch=np.deg2rad(camera.pitch),
            scale=tall / person.height,
            foot_x=width * rng.uniform(0.08, 0.92),
            foot_y=foot_y,
            depth=6 * foot_y,  # who stands lower in the image stands nearer
        )
        scene = cast_shadow(scene, view.foot_x, view.foot_y, 0.2 * tall)
        people.append(draw_person(canvas, person, sample_pose(rng, person, expressive=True), view, owner=owner))
    if rng.random() < 0.25:
        draw_occluder(canvas, rng, height, width, depth=10_000.0, owner=OCCLUDER)
    softer = replace(camera, contrast=0.5 + 0.5 * camera.contrast)
    name = f"{number:012d}.jpg"
    (Path(task.root) / task.split / name).write_bytes(encode_jpeg(expose(canvas.over(scene), softer, rng)))
    image_id = 2 * number + SPLITS[task.split]
    annotations = [_annotate(canvas, image_id, owner, joints, rng) for owner, joints in enumerate(people)]
    annotations.append(_annotate_crowd(canvas, image_id))
    return SceneRecord(
        image={"license": 1, "file_name": name, "height": height, "width": width, "id": image_id},
        annotations=tuple(annotation for annotation in annotations if annotation is not None),
    )


def _draw_crowd(canvas: Canvas, rng: np.random.Generator, height: int, width: int) -> None:
    centre = width * rng.uniform(0.25, 0.75)
    for _ in range(10):
        person = sample_person(rng)
        view = View(
            yaw=rng.uniform(0, 2 * np.pi),
            pitch=0.2,
            scale=rng.uniform(0.16, 0.22) * height / person.height,
            foot_x=centre + rng.normal(0, 0.12) * width,
            foot_y=height * rng.uniform(0.6, 0.66),
            depth=-10_000.0,
        )
        draw_person(canvas, person, sample_pose(rng, person), view, owner=CROWD)


def _annotate(canvas: Canvas, image_id: int, owner: int, joints: Joints, rng: np.random.Generator) -> Annotation | None:
    """The person's annotation, or None where hardly anything is seen of it."""
    mask_HW = canvas.owners() == owner
    if mask_HW.sum() < MIN_VISIBLE_PIXELS:
        return None
    box = _box(mask_HW)
    labelled = box[3] >= MIN_LABELLED_HEIGHT and rng.random() > 0.04
    keypoints = keypoints_in(canvas, owner, joints, box) if labelled else [0.0] * 3 * len(KEYPOINTS)
    return {
        "segmentation": mask_to_polygons(mask_HW),
        "num_keypoints": sum(visibility > 0 for visibility in keypoints[2::3]),
        "area": float(mask_HW.sum()),
        "iscrowd": 0,
        "keypoints": keypoints,
        "image_id": image_id,
        "bbox": box,
        "category_id": 1,
    }


def _annotate_crowd(canvas: Canvas, image_id: int) -> Annotation | None:
    mask_HW = canvas.owners() == CROWD
    if mask_HW.sum() < MIN_VISIBLE_PIXELS:
        return None
    return {
        "segmentation": mask_to_rle(mask_HW),
        "num_keypoints": 0,
        "area": float(mask_HW.sum()),
        "iscrowd": 1,
        "keypoints": [0] * 3 * len(KEYPOINTS),
        "image_id": image_id,
        "bbox": _box(mask_HW),
        "category_id": 1,
    }


def _box(mask_HW: NDArray[np.bool_]) -> list[float]:
    """x, y, width, height around a mask."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return [
        float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1),
    ]  # fmt: skip
