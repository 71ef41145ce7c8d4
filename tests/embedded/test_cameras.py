from itertools import combinations

import numpy as np

from reid.embedded.backgrounds import BACKGROUNDS, draw_background
from reid.embedded.cameras import CAMERAS, expose
from reid.embedded.sizes import NUM_CAMERAS


def test_there_are_six_cameras_with_a_background_of_their_own() -> None:
    assert list(CAMERAS) == list(range(1, NUM_CAMERAS + 1))
    assert {camera.background for camera in CAMERAS.values()} == set(BACKGROUNDS)


def test_every_two_cameras_show_the_same_scene_in_different_colours() -> None:
    scene = np.full((128, 64, 3), 120, np.uint8)
    casts = {}
    for number, camera in CAMERAS.items():
        shots = [np.asarray(expose(scene, camera, np.random.default_rng(seed))) for seed in range(8)]
        casts[number] = np.mean(shots, axis=(0, 1, 2))
    for one, other in combinations(CAMERAS, 2):
        assert np.abs(casts[one] - casts[other]).max() > 12, (one, other)


def test_a_camera_keeps_size_and_order_of_brightness() -> None:
    scene = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 3, axis=2).repeat(128, axis=0)
    for camera in CAMERAS.values():
        image = np.asarray(expose(scene, camera, np.random.default_rng(0)))
        assert image.shape == scene.shape
        columns = image.mean(axis=(0, 2))
        assert columns[5] < columns[30] < columns[60]


def test_backgrounds_fill_any_size() -> None:
    for kind in BACKGROUNDS:
        for height, width in ((128, 64), (160, 256)):
            scene = draw_background(kind, height, width, np.random.default_rng(0))
            assert scene.shape == (height, width, 3)
            assert scene.std() > 8
            assert (draw_background(kind, height, width, np.random.default_rng(0)) == scene).all()
