"""What every sampler promises, and what each promises beyond that."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.data import balanced_batches, rank_slice, sampler, shuffled_batches

seeds = st.integers(0, 2**31 - 1)
epochs = st.integers(0, 1000)

BATCH, UNIT = 12, 4
PIDS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), [4, 5, 6, 7, 8, 4, 5, 6, 7, 8]))
"""Each identity has as many images as a batch shows of it, or more."""
Sample = Callable[[int, int], np.ndarray]
SAMPLERS: dict[str, Sample] = {
    "shuffled_batches": lambda seed, epoch: shuffled_batches(len(PIDS), BATCH, seed, epoch),
    "balanced_batches": lambda seed, epoch: balanced_batches(PIDS, BATCH // UNIT, UNIT, seed, epoch),
}
"""Every sampler over the same images, as a function of (seed, epoch)."""


def test_every_sampler_is_tested() -> None:
    public = {name for name, _ in inspect.getmembers(sampler, inspect.isfunction) if name.endswith("_batches")}
    assert public == SAMPLERS.keys()


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
class TestEverySampler:
    def test_gives_whole_batches_of_indices(self, sample: Sample) -> None:
        indices = sample(0, 0)
        assert indices.dtype == np.int64
        assert indices.shape == (len(PIDS) // BATCH, BATCH)
        assert indices.min() >= 0
        assert indices.max() < len(PIDS)

    def test_depends_on_seed_and_epoch_alone(self, sample: Sample) -> None:
        first = sample(1, 2)
        np.random.seed(5)
        state = np.random.get_state()[1].tolist()
        np.testing.assert_array_equal(first, sample(1, 2))
        assert np.random.get_state()[1].tolist() == state
        for seed, epoch in ((1, 3), (2, 2), (2, 1)):
            assert (first != sample(seed, epoch)).any()

    def test_shows_no_image_twice_in_a_batch(self, sample: Sample) -> None:
        for epoch in range(5):
            assert all(len(set(batch)) == BATCH for batch in sample(0, epoch).tolist())

    def test_shows_every_image_and_identity_in_time(self, sample: Sample) -> None:
        shown = np.concatenate([sample(0, epoch).ravel() for epoch in range(20)])
        assert set(shown) == set(range(len(PIDS)))
        assert set(PIDS[sample(0, 0)].ravel()) == set(PIDS)

    @pytest.mark.parametrize("world", [1, 2, 3])
    @pytest.mark.parametrize("unit", [1, UNIT])
    def test_ranks_share_every_batch(self, sample: Sample, world: int, unit: int) -> None:
        indices = sample(0, 0)
        parts = [indices[:, rank_slice(BATCH, rank, world, unit)] for rank in range(world)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), indices)


@given(count=st.integers(1, 200), batch=st.integers(1, 64), seed=seeds, epoch=epochs)
def test_shuffled_batches_show_every_image_at_most_once(count: int, batch: int, seed: int, epoch: int) -> None:
    if count < batch:
        with pytest.raises(ValueError, match="lower batch_size"):
            shuffled_batches(count, batch, seed, epoch)
        return
    indices = shuffled_batches(count, batch, seed, epoch)
    assert indices.shape == (count // batch, batch)
    assert len(np.unique(indices)) == indices.size
    assert indices.min() >= 0
    assert indices.max() < count


@st.composite
def identity_lists(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """(pids of the images in any order, P, K)."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=20))
    pids = np.repeat(draw(st.permutations([7 * number for number in range(len(counts))])), counts)
    shuffled = np.random.default_rng(draw(seeds)).permutation(pids)
    return shuffled, draw(st.integers(1, len(counts))), draw(st.integers(1, 6))


@settings(max_examples=150)
@given(case=identity_lists(), seed=seeds, epoch=epochs)
def test_balanced_batches_keep_their_promises(case: tuple[np.ndarray, int, int], seed: int, epoch: int) -> None:
    pids, identities, instances = case
    indices = balanced_batches(pids, identities, instances, seed, epoch)
    assert indices.shape == (max(len(pids) // (identities * instances), 1), identities * instances)
    visits: dict[int, int] = {}
    uses = np.zeros(len(pids), int)
    for batch in indices.reshape(-1, identities, instances):
        owners = pids[batch]
        assert (owners == owners[:, :1]).all(), "the images of an identity are side by side"
        assert len(set(owners[:, 0])) == identities
        for pid, images in zip(owners[:, 0], batch, strict=True):
            assert len(set(images)) == min(instances, (pids == pid).sum())
            visits[pid] = visits.get(pid, 0) + 1
            np.add.at(uses, images, 1)
    visited = [visits.get(pid, 0) for pid in np.unique(pids)]
    assert max(visited) - min(visited) <= 1
    for pid in np.unique(pids):
        assert np.ptp(uses[pids == pid]) <= 1, "images take turns"


def test_identities_meet_by_chance() -> None:
    """Over many epochs every pair of identities shares a batch about equally often."""
    pids, batch, epochs = np.repeat(np.arange(6), 4), 3, 2000
    together = np.zeros((6, 6))
    for epoch in range(epochs):
        for row in balanced_batches(pids, batch, 4, 0, epoch):
            present = np.unique(pids[row])
            together[np.ix_(present, present)] += 1
    pairs = together[np.triu_indices(6, k=1)]
    assert np.ptp(pairs) < 0.2 * pairs.mean()


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(ValueError, match="3 identities do not fill a batch of 4 identities"):
        balanced_batches(np.repeat(np.arange(3), 9), 4, 4, 0, 0)


@given(units=st.integers(1, 40), unit=st.integers(1, 8), world=st.integers(1, 12))
def test_ranks_share_a_batch_in_whole_units(units: int, unit: int, world: int) -> None:
    batch = np.arange(units * unit)
    parts = [batch[rank_slice(len(batch), rank, world, unit)] for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(parts), batch)
    assert all(len(part) % unit == 0 for part in parts)
    expected = [len(part) * unit for part in np.array_split(np.arange(units), world)]
    assert [len(part) for part in parts] == expected
