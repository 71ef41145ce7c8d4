"""Rank-1 by cameras, against a loop over queries and gallery images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.evaluation import camera_pairs, score_queries


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cameras=st.integers(1, 4))
def test_hits_and_queries_are_those_of_a_loop(seed: int, cameras: int) -> None:
    random = np.random.default_rng(seed)
    query_pids, query_cameras = random.integers(1, 5, 9), random.integers(1, cameras + 1, 9)
    gallery_pids, gallery_cameras = random.integers(-1, 5, 20), random.integers(1, cameras + 1, 20)
    query, gallery = (torch.from_numpy(random.standard_normal((count, 3))).float() for count in (9, 20))
    scores = {}
    for camera in np.unique(gallery_cameras).tolist():
        of = gallery_cameras == camera
        sides = (query_pids, gallery_pids[of], query_cameras, gallery_cameras[of])
        scores[camera] = score_queries(query, gallery[of], *sides)
    pairs = camera_pairs(scores, query_cameras)

    expected: dict[tuple[int, int], list[bool]] = {}
    for q in range(9):
        for camera in np.unique(gallery_cameras).tolist():
            kept = [
                ((query[q] - gallery[g]).double().square().sum().item(), gallery_pids[g] == query_pids[q])
                for g in np.flatnonzero(gallery_cameras == camera)
                if gallery_pids[g] != -1 and not (gallery_pids[g] == query_pids[q] and camera == query_cameras[q])
            ]
            if any(is_match for _, is_match in kept):
                nearest = min(kept, key=lambda one: one[0])
                expected.setdefault((int(query_cameras[q]), camera), []).append(bool(nearest[1]))
    found = {
        (a, c): (int(pairs.queries_AC[i, j]), int(pairs.hits_AC[i, j]))
        for i, a in enumerate(pairs.query_A)
        for j, c in enumerate(pairs.gallery_C)
        if pairs.queries_AC[i, j]
    }
    assert found == {key: (len(hits), sum(hits)) for key, hits in expected.items()}
    assert all(a != c for a, c in found)
    for (a, c), (queries, hits) in found.items():
        share = pairs.rank1_AC[pairs.query_A.index(a), pairs.gallery_C.index(c)]
        assert share == pytest.approx(hits / queries)
    assert np.isnan(pairs.rank1_AC[pairs.queries_AC == 0]).all()
