"""Renders scenes with keypoint annotations in COCO's on-disk format.

Tsung-Yi Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.data import MapTasks
from reid.embedded.backgrounds import cast_shadow, draw_background, draw_occluder
from reid.embedded.cameras import CAMERAS, expose
from reid.embedded.contours import mask_to_polygons, mask_to_rle
from reid.embedded.draw import Canvas
from reid.embedded.figure import draw_person
from reid.embedded.people import sample_person
from reid.embedded.plan import STREAMS
from reid.embedded.sizes import BenchmarkSize
from reid.embedded.skeleton import Joints, View, sample_pose
from reid.embedded.writing import IMAGES_PER_TASK, encode_jpeg
from reid.storage import whole_folder, write_whole

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
FACE = KEYPOINTS[:5]
CATEGORY = {"supercategory": "person", "id": 1, "name": "person", "keypoints": KEYPOINTS, "skeleton": SKELETON}
SPLITS = {"train2017": 0, "val2017": 1}
CROWD_EVERY = 16  # every so many scenes, one has a crowd in the distance

CROWD, OCCLUDER = 1000, 2000  # owners; pedestrians are numbered from 0
MIN_VISIBLE_PIXELS = 60  # a person of whom less is seen is not annotated
ON_SURFACE, INSIDE_LIMB = 0.02, 0.08  # how deep a keypoint may lie and yet be seen, shares of the stature
MIN_LABELLED_HEIGHT = 40  # smaller people have a box but no keypoints

Annotation = dict[str, Any]


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
    """
    counts = {"train2017": size.coco_train_images, "val2017": size.coco_val_images}
    with whole_folder(destination) as root:
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
            records = [record for chunk in map_tasks(render_scenes, tasks) for record in chunk]
            content = json.dumps(_annotation_file(split, records)).encode()
            write_whole(root / "annotations" / f"person_keypoints_{split}.json", content)


def _annotation_file(split: str, records: list[SceneRecord]) -> dict[str, Any]:
    annotations = [annotation for record in records for annotation in record.annotations]
    return {
        "info": {
            "description": f"Rendered pedestrians, {split}",
            "version": "1.0",
            "year": 2017,
            "contributor": "reid",
        },
        "licenses": [{"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": [record.image for record in records],
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": [CATEGORY],
    }


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
    write_whole(Path(task.root) / task.split / name, encode_jpeg(expose(canvas.over(scene), softer, rng)))
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
    keypoints = _keypoints(canvas, owner, joints, box) if labelled else [0.0] * 3 * len(KEYPOINTS)
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


def _keypoints(canvas: Canvas, owner: int, joints: Joints, box: list[float]) -> list[float]:
    """x, y, v of each keypoint: v 2 seen, 1 hidden, 0 (with x = y = 0) outside of what is seen of the person."""
    left, top, width, height = box
    stature = float(np.linalg.norm(joints["crown"] - joints["left_ankle"]))
    values: list[float] = []
    for name in KEYPOINTS:
        depth = ON_SURFACE if name in FACE else INSIDE_LIMB
        x, y = (round(float(value), 1) for value in joints[name][:2])
        if not (left <= x <= left + width and top <= y <= top + height):
            values += [0.0, 0.0, 0]
        else:
            values += [x, y, 2 if canvas.is_visible(joints[name], owner, depth * stature) else 1]
    return values


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
