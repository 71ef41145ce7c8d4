"""Renders a data set in Market-1501's on-disk format, and beside it what the original lacks: joints and textures.

Liang Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reid.data import MapTasks
from reid.embedded.backgrounds import cast_shadow, draw_background, draw_occluder
from reid.embedded.cameras import CAMERAS, Camera, expose
from reid.embedded.draw import Canvas, Locate
from reid.embedded.figure import draw_person
from reid.embedded.keypoints import Annotation, annotation_file, keypoints_in
from reid.embedded.market_attributes import encode_attributes
from reid.embedded.people import Person, sample_person
from reid.embedded.plan import GALLERY, QUERY, STREAMS, TRAIN, Shot, plan_market1501
from reid.embedded.sizes import BenchmarkSize
from reid.embedded.skeleton import Joints, View, sample_pose
from reid.embedded.textures import render_textures
from reid.embedded.writing import IMAGES_PER_TASK, encode_jpeg
from reid.progress import tracked
from reid.storage import room_for, whole_folder

HEIGHT, WIDTH = 128, 64
KEYPOINTS_FILE = "person_keypoints.json"
TEXTURES = "textures"
SUBJECT = 1
"""Owner of the pixels of whom an image is of."""
THUMBS_DB = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)  # what Windows left in the original's folders

OCCLUDED, BADLY_CUT = 0.2, 0.25  # shares of the images of identities


@dataclass(frozen=True, kw_only=True)
class ShotsTask:
    """A chunk of images to render into `root`."""

    root: str
    seed: int
    shots: tuple[Shot, ...]


def render_market1501(destination: Path, *, size: BenchmarkSize, seed: int, map_tasks: MapTasks) -> None:
    """Renders the original's folders and attributes, person_keypoints.json and textures/ into a new folder.

    The same `size` and `seed` give the same bytes, however `map_tasks` spreads the work.

    Raises:
        FileExistsError: `destination` exists already.
        DiskFullError: there is no room for it.
    """
    plan = plan_market1501(size, seed)
    with room_for(destination, size.market_bytes), whole_folder(destination) as root:
        for folder in (TRAIN, GALLERY, QUERY):
            (root / folder).mkdir()
            (root / folder / "Thumbs.db").write_bytes(THUMBS_DB)
        (root / "market_attribute.mat").write_bytes(encode_attributes({"train": plan.train, "test": plan.test}))
        people = {f"{pid:04d}": person for pid, person in (plan.train | plan.test).items()}
        render_textures(root / TEXTURES, people, side=size.texture_side, map_tasks=map_tasks)
        chunks = (plan.shots[start : start + IMAGES_PER_TASK] for start in range(0, len(plan.shots), IMAGES_PER_TASK))
        tasks = [ShotsTask(root=str(root), seed=seed, shots=chunk) for chunk in chunks]
        rendered = tracked(
            map_tasks(render_shots, tasks), "rendering people", total=len(plan.shots), unit="images", size=len
        )
        annotations = [person for chunk in rendered for person in chunk]
        assert len(annotations) == len(plan.shots)
        (root / KEYPOINTS_FILE).write_text(json.dumps(_annotation_file(plan.shots, annotations)))


def render_shots(task: ShotsTask) -> list[Annotation | None]:
    """Renders and writes one chunk; returns the annotation of the person in each image, if it is of one."""
    people = []
    for shot in task.shots:
        rng = np.random.default_rng([task.seed, STREAMS["images"], shot.index])
        image, canvas, joints = render_shot(shot, rng)
        (Path(task.root) / shot.path).write_bytes(encode_jpeg(image))
        people.append(None if joints is None else _annotate(canvas, joints))
    return people


def _annotation_file(shots: Sequence[Shot], people: Sequence[Annotation | None]) -> Annotation:
    images = [{"id": shot.index, "file_name": shot.path, "height": HEIGHT, "width": WIDTH} for shot in shots]
    annotations = [
        person | {"image_id": shot.index} for shot, person in zip(shots, people, strict=True) if person is not None
    ]
    return annotation_file("Rendered pedestrians, as the detector's boxes show them", images, annotations)


def render_shot(
    shot: Shot, rng: np.random.Generator, *, locate: Locate | None = None
) -> tuple[Image.Image, Canvas, Joints | None]:
    """One 128×64 image, what was drawn on, and the joints of `SUBJECT`."""
    camera = CAMERAS[shot.camera]
    scene = draw_background(camera.background, HEIGHT, WIDTH, rng)
    canvas = Canvas(HEIGHT, WIDTH, camera.light, locate=locate)
    if rng.random() < 0.3 or shot.person is None:
        scene = _draw_passer_by(canvas, scene, camera, rng, nearer=False)
    joints = None
    if shot.person is not None:
        view = _cut_box(shot, shot.person, camera, rng)
        scene = cast_shadow(scene, view.foot_x, view.foot_y, 0.2 * view.scale * shot.person.height)
        joints = draw_person(canvas, shot.person, sample_pose(rng, shot.person), view, owner=SUBJECT)
        if rng.random() < OCCLUDED:
            if rng.random() < 0.3:
                _draw_passer_by(canvas, scene, camera, rng, nearer=True)
            else:
                draw_occluder(canvas, rng, HEIGHT, WIDTH, depth=1000.0, owner=2)
    return expose(canvas.over(scene), camera, rng), canvas, joints


def _annotate(canvas: Canvas, joints: Joints) -> Annotation:
    """The joints within the image; those that something else hides count as hidden."""
    box = [0.0, 0.0, WIDTH - 1.0, HEIGHT - 1.0]
    keypoints = keypoints_in(canvas, SUBJECT, joints, box)
    labelled = sum(visibility > 0 for visibility in keypoints[2::3])
    return {
        "keypoints": keypoints,
        "num_keypoints": labelled,
        "bbox": box,
        "area": float(WIDTH * HEIGHT),
        "iscrowd": 0,
        "category_id": 1,
    }


def _cut_box(shot: Shot, person: Person, camera: Camera, rng: np.random.Generator) -> View:
    """Where the detector's box puts the person: mostly right, sometimes badly, and never well in junk."""
    tall, off_x, off_y = rng.uniform(0.85, 0.95), rng.normal(0, 2), rng.normal(0, 1.5)
    if shot.pid == -1:
        tall, off_x, off_y = rng.uniform(1.3, 2.4), rng.choice([-1, 1]) * rng.uniform(8, 34), rng.uniform(-30, 120)
    elif rng.random() < BADLY_CUT:
        match rng.choice(["no feet", "no head", "off centre", "too small"]):
            case "no feet":
                tall = rng.uniform(1.05, 1.4)
                off_y += HEIGHT * (tall - 0.92)
            case "no head":
                tall = rng.uniform(0.95, 1.2)
                off_y -= HEIGHT * rng.uniform(0.05, 0.16)
            case "off centre":
                off_x += rng.choice([-1, 1]) * rng.uniform(7, 15)
            case "too small":
                tall = rng.uniform(0.6, 0.75)
                off_y -= HEIGHT * 0.1
    pitch = np.deg2rad(camera.pitch)
    return View(
        yaw=np.deg2rad(shot.yaw),
        pitch=pitch,
        scale=tall * HEIGHT / (person.height * np.cos(pitch)),
        foot_x=WIDTH / 2 + off_x,
        foot_y=HEIGHT * 0.96 + off_y,
    )


def _draw_passer_by(
    canvas: Canvas, scene: NDArray[np.uint8], camera: Camera, rng: np.random.Generator, *, nearer: bool
) -> NDArray[np.uint8]:
    """Another pedestrian, small behind the person or large and half in the box before it."""
    person = sample_person(rng)
    tall = rng.uniform(0.9, 1.15) if nearer else rng.uniform(0.3, 0.6)
    view = View(
        yaw=rng.uniform(0, 2 * np.pi),
        pitch=np.deg2rad(camera.pitch),
        scale=tall * HEIGHT / person.height,
        foot_x=float(rng.choice([0.02, 0.98])) * WIDTH + rng.normal(0, 3) if nearer else rng.uniform(0, WIDTH),
        foot_y=HEIGHT * (1.08 if nearer else rng.uniform(0.68, 0.85)),
        depth=1000.0 if nearer else -1000.0,
    )
    draw_person(canvas, person, sample_pose(rng, person), view, owner=3)
    return cast_shadow(scene, view.foot_x, view.foot_y, 0.2 * view.scale * person.height)
