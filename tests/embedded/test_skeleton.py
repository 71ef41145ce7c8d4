from dataclasses import replace

import numpy as np
import pytest

from reid.embedded.people import sample_person
from reid.embedded.skeleton import Limb, Pose, View, bend, sample_pose

BONES = [
    ("left_hip", "left_knee"),
    ("right_knee", "right_ankle"),
    ("left_shoulder", "left_elbow"),
    ("right_elbow", "right_wrist"),
    ("pelvis", "neck"),
    ("left_eye", "right_eye"),
]
FACING = View(yaw=0.0, pitch=0.0, scale=50.0, foot_x=30.0, foot_y=120.0)


def test_bones_keep_their_length_and_the_feet_stay_on_the_ground() -> None:
    rng = np.random.default_rng(0)
    person = sample_person(rng)
    lengths = []
    for _ in range(20):
        joints = bend(person, sample_pose(rng, person, expressive=True))
        lengths.append([np.linalg.norm(joints[start] - joints[end]) for start, end in BONES])
        assert min(joints["left_ankle"][1], joints["right_ankle"][1]) == pytest.approx(0.042 * person.height)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], (20, len(BONES))), rtol=1e-9)


def test_upright_joints_are_in_order_from_head_to_foot_and_as_tall_as_the_person() -> None:
    person = replace(sample_person(np.random.default_rng(1)), age=3)
    arm = Limb(swing=0.0, abduction=0.1, elbow=0.0)
    joints = bend(person, Pose(phase=0.0, stride=0.0, lean=0.0, left_arm=arm, right_arm=arm))
    names = ("crown", "nose", "neck", "left_shoulder", "left_elbow", "left_hip", "left_knee", "left_ankle")
    heights = [joints[name][1] for name in names]
    assert heights == sorted(heights, reverse=True)
    assert 0.88 * person.height < joints["crown"][1] < person.height


@pytest.mark.parametrize(("yaw", "sign"), [(0.0, 1), (np.pi, -1)])
def test_the_person_s_left_is_on_the_image_s_right_when_it_faces_the_camera(yaw: float, sign: int) -> None:
    view = replace(FACING, yaw=yaw)
    left, right = view.project(np.array([0.2, 1.0, 0.0])), view.project(np.array([-0.2, 1.0, 0.0]))
    assert np.sign(left[0] - right[0]) == sign
    nose, back = view.project(np.array([0.0, 1.0, 0.1])), view.project(np.array([0.0, 1.0, -0.1]))
    assert np.sign(nose[2] - back[2]) == sign


def test_at_a_quarter_turn_the_person_faces_the_image_s_right() -> None:
    nose = replace(FACING, yaw=np.pi / 2).project(np.array([0.0, 1.0, 0.1]))
    np.testing.assert_allclose(nose, [35.0, 70.0, 0.0], atol=1e-9)
