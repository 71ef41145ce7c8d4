import re
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.embedded.plan import GALLERY, QUERY, TRAIN, Plan, plan_market1501
from reid.embedded.sizes import NUM_CAMERAS, SIZES, BenchmarkSize

FILE_NAME = re.compile(r"(-1|\d{4})_c[1-6]s[1-6]_\d{6}_\d{2}\.jpg")


@st.composite
def sizes(draw: st.DrawFn) -> BenchmarkSize:
    train, test = draw(st.integers(6, 14)), draw(st.integers(6, 14))
    return BenchmarkSize(
        train_identities=train,
        train_images=draw(st.integers(4 * train, 12 * train)),
        test_identities=test,
        query_images=draw(st.integers(test, NUM_CAMERAS * test)),
        gallery_images=draw(st.integers(2 * test, 12 * test)),
        distractor_images=draw(st.integers(0, 5)),
        junk_images=draw(st.integers(0, 5)),
        coco_train_images=0,
        coco_val_images=0,
    )


def assert_keeps_the_promises(plan: Plan, size: BenchmarkSize) -> None:
    assert (len(plan.train), len(plan.test)) == (size.train_identities, size.test_identities)
    assert not plan.train.keys() & plan.test.keys()
    assert plan.train.keys() | plan.test.keys() == set(range(1, len(plan.train) + len(plan.test) + 1))

    images: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))  # folder → pid → cameras
    for shot in plan.shots:
        folder, name = shot.path.split("/")
        assert FILE_NAME.fullmatch(name)
        pid, camera = name.split("_")[:2]
        assert (int(pid), int(camera[1])) == (shot.pid, shot.camera)
        images[folder][shot.pid].append(shot.camera)
    assert len({shot.path for shot in plan.shots}) == len(plan.shots)
    assert [shot.index for shot in plan.shots] == list(range(len(plan.shots)))

    train, query, gallery = images[TRAIN], images[QUERY], images[GALLERY]
    assert len(gallery.pop(0, [])) == size.distractor_images
    assert len(gallery.pop(-1, [])) == size.junk_images
    for folder, identities, count in (
        (train, plan.train, size.train_images),
        (query, plan.test, size.query_images),
        (gallery, plan.test, size.gallery_images),
    ):
        assert folder.keys() == identities.keys()
        assert sum(map(len, folder.values())) == count
        assert {camera for cameras in folder.values() for camera in cameras} <= set(range(1, NUM_CAMERAS + 1))
    for folder in (train, query):
        assert len({camera for cameras in folder.values() for camera in cameras}) == NUM_CAMERAS
    assert all(len(cameras) >= 4 and len(set(cameras)) >= 2 for cameras in train.values())
    for pid, cameras in query.items():
        assert len(set(cameras)) == len(cameras), "two queries of one identity from one camera"
        assert all(set(gallery[pid]) - {camera} for camera in cameras), "a query without a match in another camera"


@settings(max_examples=30, deadline=None)
@given(size=sizes(), seed=st.integers(0, 2**32))
def test_any_size_gives_exact_counts_and_cross_camera_matches(size: BenchmarkSize, seed: int) -> None:
    assert_keeps_the_promises(plan_market1501(size, seed), size)


@pytest.mark.parametrize("name", SIZES)
def test_named_sizes(name: str) -> None:
    assert_keeps_the_promises(plan_market1501(SIZES[name], seed=0), SIZES[name])


def test_market_size_has_the_originals_counts() -> None:
    size = SIZES["market"]
    assert (size.train_images, size.train_identities) == (12_936, 751)
    assert (size.query_images, size.test_identities) == (3_368, 750)
    assert size.junk_images + size.distractor_images + size.gallery_images == 19_732


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    size = SIZES["smoke"]
    assert plan_market1501(size, seed=3) == plan_market1501(size, seed=3)
    assert plan_market1501(size, seed=3).train != plan_market1501(size, seed=4).train


def test_impossible_sizes_are_refused_all_rules_at_once() -> None:
    with pytest.raises(ValueError, match=r"one for each camera.*4 x train_identities.*query_images must lie"):
        BenchmarkSize(
            train_identities=5,
            train_images=10,
            test_identities=6,
            query_images=40,
            gallery_images=12,
            distractor_images=0,
            junk_images=0,
            coco_train_images=0,
            coco_val_images=0,
        )
