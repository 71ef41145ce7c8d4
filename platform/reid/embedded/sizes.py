"""How large a benchmark is rendered; every count is exact."""

from dataclasses import dataclass

from reid.config import TEXTURE_GRID

NUM_CAMERAS = 6
PERSON_BYTES, SCENE_BYTES = 4_600, 23_000
"""Of a rendered image with its annotations, on average."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSize:
    """Counts of identities, images and texels.

    Raises:
        ValueError: the counts cannot satisfy the benchmark's promises (all cameras used, at least four images and two
            cameras for each train identity, a cross-camera match for every query).
    """

    train_identities: int
    train_images: int
    test_identities: int
    query_images: int  # at most one for each test identity and camera, as in Market-1501
    gallery_images: int  # the good ones, pid > 0
    distractor_images: int  # pid 0
    junk_images: int  # pid -1
    coco_train_images: int
    coco_val_images: int
    texture_side: int = 128  # texels of everyone's texture; whole charts need a multiple of 32
    pairs_train_people: int = 0
    pairs_train_images: int = 0  # of each of them
    pairs_val_people: int = 0
    pairs_val_images: int = 0

    def __post_init__(self) -> None:
        rules = {
            f"train_identities and test_identities must be at least {NUM_CAMERAS}, one for each camera": (
                min(self.train_identities, self.test_identities) >= NUM_CAMERAS
            ),
            "train_images must be at least 4 x train_identities": self.train_images >= 4 * self.train_identities,
            f"query_images must lie between test_identities and {NUM_CAMERAS} x test_identities": (
                self.test_identities <= self.query_images <= NUM_CAMERAS * self.test_identities
            ),
            "gallery_images must be at least 2 x test_identities": self.gallery_images >= 2 * self.test_identities,
            "distractor_images, junk_images, coco_train_images and coco_val_images must not be negative": (
                min(self.distractor_images, self.junk_images, self.coco_train_images, self.coco_val_images) >= 0
            ),
            f"texture_side must be a multiple of {TEXTURE_GRID}": self.texture_side % TEXTURE_GRID == 0,
            "the numbers of people and images of pairs must not be negative": (
                min(self.pairs_train_people, self.pairs_train_images, self.pairs_val_people, self.pairs_val_images) >= 0
            ),
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ValueError(f"{self}: " + "; ".join(broken))

    @property
    def market_bytes(self) -> int:
        """Bytes of all person images, more or less."""
        test_images = self.query_images + self.gallery_images + self.distractor_images + self.junk_images
        return (self.train_images + test_images) * PERSON_BYTES

    @property
    def pairs_bytes(self) -> int:
        """Bytes of all images that have a texture, more or less."""
        train, val = self.pairs_train_people * self.pairs_train_images, self.pairs_val_people * self.pairs_val_images
        return (train + val) * PERSON_BYTES

    @property
    def coco_bytes(self) -> int:
        """Bytes of all scenes, more or less."""
        return (self.coco_train_images + self.coco_val_images) * SCENE_BYTES


SIZES: dict[str, BenchmarkSize] = {
    "smoke": BenchmarkSize(
        train_identities=12,
        train_images=72,
        test_identities=8,
        query_images=24,
        gallery_images=48,
        distractor_images=8,
        junk_images=6,
        coco_train_images=40,
        coco_val_images=8,
        pairs_train_people=16,
        pairs_train_images=4,
        pairs_val_people=4,
        pairs_val_images=3,
    ),
    "demo": BenchmarkSize(
        train_identities=400,
        train_images=2_000,
        test_identities=80,
        query_images=240,
        gallery_images=800,
        distractor_images=120,
        junk_images=60,
        coco_train_images=2_600,
        coco_val_images=100,
        pairs_train_people=300,
        pairs_train_images=8,
        pairs_val_people=40,
        pairs_val_images=4,
    ),
    # Market-1501's own counts.
    "market": BenchmarkSize(
        train_identities=751,
        train_images=12_936,
        test_identities=750,
        query_images=3_368,
        gallery_images=13_115,
        distractor_images=2_798,
        junk_images=3_819,
        coco_train_images=10_000,
        coco_val_images=500,
        texture_side=256,
        pairs_train_people=929,  # as many textures and images as SAN's authors render
        pairs_train_images=10,
        pairs_val_people=100,
        pairs_val_images=4,
    ),
}
