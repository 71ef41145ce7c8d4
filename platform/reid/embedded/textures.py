"""Writes people's textures, one file for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reid.data import MapTasks
from reid.embedded.atlas import texture_of
from reid.embedded.people import Person
from reid.embedded.writing import IMAGES_PER_TASK, encode_png
from reid.progress import tracked


@dataclass(frozen=True, kw_only=True)
class TexturesTask:
    """The textures of some people to write into a folder."""

    folder: str
    side: int
    people: tuple[tuple[str, Person], ...]  # by the name of the file


def render_textures(folder: Path, people: Mapping[str, Person], *, side: int, map_tasks: MapTasks) -> None:
    """Writes a file NAME.png of `side` × `side` texels for each person into a new folder."""
    folder.mkdir()
    named = tuple(people.items())
    tasks = [
        TexturesTask(folder=str(folder), side=side, people=named[start : start + IMAGES_PER_TASK])
        for start in range(0, len(named), IMAGES_PER_TASK)
    ]
    rendered = map_tasks(write_textures, tasks)
    title = "rendering textures"
    written = sum(tracked(rendered, title, total=len(people), unit="people", size=lambda textures: textures))
    assert written == len(people)


def write_textures(task: TexturesTask) -> int:
    """Writes one chunk; returns how many there are."""
    for name, person in task.people:
        texture = Image.fromarray(texture_of(person, task.side))
        (Path(task.folder) / f"{name}.png").write_bytes(encode_png(texture))
    return len(task.people)
