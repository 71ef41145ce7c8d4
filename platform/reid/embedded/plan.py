"""Which image shows whom, through which camera, under which Market-1501 file name."""

from dataclasses import dataclass

import numpy as np

from reid.embedded.cameras import CAMERAS
from reid.embedded.people import Person, sample_person, sample_population
from reid.embedded.sizes import NUM_CAMERAS, BenchmarkSize

TRAIN, GALLERY, QUERY = "bounding_box_train", "bounding_box_test", "query"
STREAMS = {  # of random numbers
    "identities": 0, "train": 1, "test": 2, "distractors": 3, "images": 4, "coco": 5, "pairs": 6,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One image to render. `index` selects its random numbers."""

    index: int
    path: str  # relative to the dataset's root
    pid: int  # -1 junk, 0 distractor
    camera: int  # 1..6
    person: Person | None  # None: background only
    yaw: float  # degrees


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole data set before rendering."""

    train: dict[int, Person]  # by pid
    test: dict[int, Person]
    shots: tuple[Shot, ...]


def plan_market1501(size: BenchmarkSize, seed: int) -> Plan:
    """Draws identities, numbers them as Market-1501 does (splits interleaved), and gives out the images."""
    rng = np.random.default_rng([seed, STREAMS["identities"]])
    total = size.train_identities + size.test_identities
    shuffled = [1 + int(pid) for pid in rng.permutation(np.arange(2, total))]
    # Identity 1 is Market-1501's first test identity, identity 2 its first train identity.
    train_pids = sorted([2, *shuffled[: size.train_identities - 1]])
    test_pids = sorted([1, *shuffled[size.train_identities - 1 :]])
    train = dict(zip(train_pids, _population(seed, "train", len(train_pids)), strict=True))
    test = dict(zip(test_pids, _population(seed, "test", len(test_pids)), strict=True))
    album = _Album(rng)
    _plan_train(album, rng, train, size)
    _plan_test(album, rng, test, size)
    strangers = np.random.default_rng([seed, STREAMS["distractors"]])
    for _ in range(size.distractor_images):
        person = sample_person(strangers) if strangers.random() < 0.75 else None
        album.add(GALLERY, 0, 1 + int(strangers.integers(NUM_CAMERAS)), person)
    for _ in range(size.junk_images):
        pid = test_pids[int(strangers.integers(len(test_pids)))]
        album.add(GALLERY, -1, 1 + int(strangers.integers(NUM_CAMERAS)), test[pid])
    return Plan(train=train, test=test, shots=tuple(album.shots))


def _population(seed: int, split: str, count: int) -> list[Person]:
    return sample_population(np.random.default_rng([seed, STREAMS[split]]), count)


def _cameras_of(rng: np.random.Generator, number: int, *, at_least: int) -> list[int]:
    """The cameras that see the `number`-th identity; its first one goes around, so that every camera is used."""
    first = 1 + number % NUM_CAMERAS
    others = rng.permutation([camera for camera in range(1, NUM_CAMERAS + 1) if camera != first])
    return [first, *(int(camera) for camera in others)][: int(rng.integers(max(at_least, 3), NUM_CAMERAS + 1))]


def _shares(rng: np.random.Generator, total: int, parts: int, *, floor: int) -> list[int]:
    """`total` split at random into `parts` of at least `floor`."""
    spare = rng.multinomial(total - floor * parts, rng.dirichlet(np.full(parts, 2.0)))
    return [floor + int(count) for count in spare]


def _plan_train(album: "_Album", rng: np.random.Generator, train: dict[int, Person], size: BenchmarkSize) -> None:
    shares = _shares(rng, size.train_images, len(train), floor=4)
    for number, ((pid, person), share) in enumerate(zip(train.items(), shares, strict=True)):
        cameras = _cameras_of(rng, number, at_least=2)
        for image in range(share):
            album.add(TRAIN, pid, cameras[image % len(cameras)], person)


def _plan_test(album: "_Album", rng: np.random.Generator, test: dict[int, Person], size: BenchmarkSize) -> None:
    """Queries are one for each identity and camera at most; the gallery shows each identity to two cameras at least."""
    more = np.arange((NUM_CAMERAS - 1) * len(test)) < size.query_images - len(test)
    queries = 1 + rng.permutation(more).reshape(len(test), NUM_CAMERAS - 1).sum(axis=1)
    shares = _shares(rng, size.gallery_images, len(test), floor=2)
    for number, ((pid, person), share) in enumerate(zip(test.items(), shares, strict=True)):
        cameras = _cameras_of(rng, number, at_least=int(queries[number]))
        for camera in cameras[: queries[number]]:
            album.add(QUERY, pid, camera, person)
        for image in range(share):
            album.add(GALLERY, pid, cameras[image % len(cameras)], person)


class _Album:
    """Collects shots and gives them their file names."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.shots: list[Shot] = []
        self._rng = rng
        self._names: set[str] = set()
        self._headings: dict[tuple[int, int], float] = {}  # someone crosses a camera's view in one direction

    def add(self, folder: str, pid: int, camera: int, person: Person | None) -> None:
        if pid > 0:
            heading = self._headings.setdefault((pid, camera), float(self._rng.choice(CAMERAS[camera].yaws)))
        else:
            heading = float(self._rng.choice(CAMERAS[camera].yaws))
        detection = 0 if folder == QUERY else int(self._rng.integers(1, 6))  # queries were drawn by hand
        name = ""
        while not name or name in self._names:
            sequence, frame = int(self._rng.integers(1, 7)), int(self._rng.integers(1, 130_000))
            identity = "-1" if pid == -1 else f"{pid:04d}"
            name = f"{identity}_c{camera}s{sequence}_{frame:06d}_{detection:02d}.jpg"
        self._names.add(name)
        yaw = heading + float(self._rng.normal(0, 14))
        self.shots.append(
            Shot(index=len(self.shots), path=f"{folder}/{name}", pid=pid, camera=camera, person=person, yaw=yaw)
        )
