"""Renders images of people with the textures of who they show, to learn the one from the other.

Laid out as `reid.data`'s reader of texture pairs takes them. The people are none of the benchmark's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reid.data import MapTasks
from reid.embedded.atlas import Atlas, seen_texels
from reid.embedded.cameras import CAMERAS
from reid.embedded.market1501 import SUBJECT, render_shot
from reid.embedded.people import Person, sample_person
from reid.embedded.plan import STREAMS, Shot
from reid.embedded.sizes import NUM_CAMERAS, BenchmarkSize
from reid.embedded.textures import render_textures
from reid.embedded.writing import IMAGES_PER_TASK, encode_jpeg, encode_png
from reid.progress import tracked
from reid.storage import room_for, whole_folder

SPLITS = {"train": 0, "val": 1}
IMAGES, SEEN = "images", "seen"
"""Folders of a split."""
WITH_MASKS = ("val",)
"""Splits that know which texels each image shows."""
MASK_SIDE = 128
"""Texels along a side of the masks, whatever the textures have: finer ones would have holes, between the subpixels."""
MANIFEST = r"""# Which image has which texture, for the manifest `texture_pairs`.
title: Embedded pairs of images and textures
citation: Rendered by this project (reid.embedded).
url: jobs/prepare_data.py renders them
licence: Apache-2.0, as the project; no person is depicted.
textures: {layout: embedded, file_name: '^(?P<texture>\d{4})_c\d_\d{2}\.jpg$'}
"""


@dataclass(frozen=True, kw_only=True)
class PairsTask:
    """A chunk of images to render into the folder of a split."""

    folder: str
    seed: int
    split: str
    shots: tuple[Shot, ...]


def render_pairs(destination: Path, *, size: BenchmarkSize, seed: int, map_tasks: MapTasks) -> None:
    """Renders train/ and val/ into a new folder: images/, textures/, and in val/ seen/, the texels that an image shows.

    The same `size` and `seed` give the same bytes, however `map_tasks` spreads the work.

    Raises:
        FileExistsError: `destination` exists already.
        DiskFullError: there is no room for it.
    """
    counts = {
        "train": (size.pairs_train_people, size.pairs_train_images),
        "val": (size.pairs_val_people, size.pairs_val_images),
    }
    with room_for(destination, size.pairs_bytes), whole_folder(destination) as root:
        (root / "manifest.yaml").write_text(MANIFEST)
        for split, (people, images) in counts.items():
            for folder in (IMAGES, SEEN) if split in WITH_MASKS else (IMAGES,):
                (root / split / folder).mkdir(parents=True)
            everyone = plan_people(seed, split, people)
            render_textures(root / split / "textures", everyone, side=size.texture_side, map_tasks=map_tasks)
            shots = plan_shots(seed, split, everyone, images)
            tasks = [
                PairsTask(
                    folder=str(root / split),
                    seed=seed,
                    split=split,
                    shots=shots[start : start + IMAGES_PER_TASK],
                )
                for start in range(0, len(shots), IMAGES_PER_TASK)
            ]
            rendered = map_tasks(render_images, tasks)
            title = f"rendering pairs, {split}"
            written = sum(tracked(rendered, title, total=len(shots), unit="images", size=lambda images: images))
            assert written == len(shots)


def plan_people(seed: int, split: str, count: int) -> dict[str, Person]:
    """People by the names of their textures; there are no groups of look-alikes, as in the benchmark."""
    rng = stream_of(seed, split, 0)
    return {f"{number:04d}": sample_person(rng) for number in range(1, count + 1)}


def plan_shots(seed: int, split: str, people: dict[str, Person], images: int) -> tuple[Shot, ...]:
    """As many images of each person, through any camera, as the benchmark's cameras see people."""
    rng = stream_of(seed, split, 1)
    shots: list[Shot] = []
    for name, person in people.items():
        for number in range(images):
            camera = 1 + int(rng.integers(NUM_CAMERAS))
            shot = Shot(
                index=len(shots),
                path=f"{IMAGES}/{name}_c{camera}_{number:02d}.jpg",
                pid=int(name),
                camera=camera,
                person=person,
                yaw=float(rng.choice(CAMERAS[camera].yaws)) + float(rng.normal(0, 14)),
            )
            shots.append(shot)
    return tuple(shots)


def render_images(task: PairsTask) -> int:
    """Renders and writes one chunk; returns how many images it has."""
    locate = Atlas(MASK_SIDE).locate if task.split in WITH_MASKS else None
    for shot in task.shots:
        image, canvas, _ = render_shot(shot, stream_of(task.seed, task.split, 2 + shot.index), locate=locate)
        file = Path(task.folder) / shot.path
        file.write_bytes(encode_jpeg(image))
        if locate is not None:
            mask = Image.fromarray(seen_texels(canvas.texels(SUBJECT), MASK_SIDE))
            (file.parents[1] / SEEN / f"{file.stem}.png").write_bytes(encode_png(mask))
    return len(task.shots)


def stream_of(seed: int, split: str, number: int) -> np.random.Generator:
    """0 draws the people, 1 the shots, those after them draw an image each."""
    return np.random.default_rng([seed, STREAMS["pairs"], SPLITS[split], number])
