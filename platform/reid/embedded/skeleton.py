"""The 2.5-D skeleton: a pose bends it, a view projects it.

Body frame: x to the person's left, y up from the ground, z to where the person faces; metres.
Image frame: x right, y down, z towards the camera; pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.embedded.people import Person

Point = NDArray[np.float64]  # (3,)
Joints = dict[str, Point]

SIDES = {"left": 1.0, "right": -1.0}  # the sign of x


@dataclass(frozen=True, kw_only=True)
class Limb:
    """Angles of one arm, radians."""

    swing: float  # of the upper arm, forwards positive
    abduction: float  # of the upper arm, away from the body
    elbow: float  # flexion


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the body is bent at one moment."""

    phase: float  # of the gait cycle, radians
    stride: float  # amplitude of the thighs' swing, radians; 0 stands
    lean: float  # of the trunk, forwards positive, radians
    left_arm: Limb
    right_arm: Limb


@dataclass(frozen=True, kw_only=True)
class View:
    """Where the person stands in the image."""

    yaw: float  # 0 faces the camera, π/2 the image's right, π shows the back
    pitch: float  # of the camera looking down, radians
    scale: float  # pixels per metre
    foot_x: float  # pixels
    foot_y: float
    depth: float = 0.0  # pixels towards the camera

    def project(self, point: Point) -> Point:
        """Body frame → image frame."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        left, height, front = point.tolist()
        x, z = left * cos + front * sin, front * cos - left * sin
        up = height * math.cos(self.pitch) - z * math.sin(self.pitch)
        towards = z * math.cos(self.pitch) + height * math.sin(self.pitch)
        return np.array(
            [self.foot_x + self.scale * x, self.foot_y - self.scale * up, self.depth + self.scale * towards]
        )


def sample_pose(rng: np.random.Generator, person: Person, *, expressive: bool = False) -> Pose:
    """A walking or standing pose; `expressive` arms point anywhere (keypoint scenes), else they swing with the gait."""
    phase = float(rng.uniform(0, 2 * np.pi))
    stride = float(rng.uniform(0.25, 0.6)) if rng.random() < 0.85 else 0.04
    arms: dict[str, Limb] = {}
    for side, sign in SIDES.items():
        swing = -sign * 0.75 * stride * np.sin(phase)
        arms[side] = Limb(
            swing=float(swing + rng.normal(0, 0.08)),
            abduction=float(rng.uniform(0.06, 0.22)),
            elbow=float(0.15 + max(swing, 0.0) + rng.uniform(0, 0.25)),
        )
        if rng.random() < (0.5 if expressive else 0.06):
            reach = 2.9 if expressive else 0.7
            arms[side] = Limb(
                swing=float(rng.uniform(-0.3, reach)),
                abduction=float(rng.uniform(0.05, 0.9 if expressive else 0.2)),
                elbow=float(rng.uniform(0.2, 2.2)),
            )
    if person.handbag:
        arms["right"] = Limb(swing=float(rng.normal(0, 0.06)), abduction=0.14, elbow=0.12)
    lean = float(rng.normal(0.03, 0.03)) + (0.22 if person.age == 4 else 0.0)
    return Pose(phase=phase, stride=stride, lean=lean, left_arm=arms["left"], right_arm=arms["right"])


def _sagittal(angle: float, length: float, abduction: float = 0.0) -> Point:
    """A bone hanging down, swung forwards by `angle` and sideways by `abduction`."""
    return length * np.array([np.sin(abduction), -np.cos(angle) * np.cos(abduction), np.sin(angle) * np.cos(abduction)])


def bend(person: Person, pose: Pose) -> Joints:
    """Joint positions in the body frame: COCO's seventeen, and neck, waist, chest, crown, chin, toes, hands, pelvis."""
    height = person.height
    shoulder_width = height * (0.104 if person.female else 0.118) * (0.6 + 0.4 * person.girth)
    hip_width = height * (0.056 if person.female else 0.05) * (0.6 + 0.4 * person.girth)
    child = person.age == 1
    trunk, head = height * (0.29 if not child else 0.27), height * (0.075 if not child else 0.098)
    thigh, shin = height * 0.245 * (1 if not child else 0.92), height * 0.245 * (1 if not child else 0.92)

    up = np.array([0.0, np.cos(pose.lean), np.sin(pose.lean)])
    forward = np.array([0.0, 0.0, 1.0])
    pelvis = np.zeros(3)
    neck = pelvis + trunk * up
    head_centre = neck + 1.12 * head * up + 0.25 * head * np.sin(pose.lean) * forward
    joints: Joints = {
        "pelvis": pelvis,
        "waist": pelvis + 0.32 * trunk * up,
        "chest": pelvis + 0.72 * trunk * up,
        "neck": neck,
        "head": head_centre,
        "chin": head_centre - 0.5 * head * up,
        "crown": head_centre + 0.42 * head * up,
        "nose": head_centre + 0.62 * head * forward - 0.12 * head * up,
    }
    swings = {"left": np.sin(pose.phase), "right": -np.sin(pose.phase)}
    recoveries = {"left": np.cos(pose.phase), "right": -np.cos(pose.phase)}
    for side, sign in SIDES.items():
        across = np.array([sign, 0.0, 0.0])
        joints[f"{side}_eye"] = head_centre + 0.28 * head * across + 0.54 * head * forward + 0.1 * head * up
        joints[f"{side}_ear"] = head_centre + 0.57 * head * across
        shoulder = neck + shoulder_width * across - 0.045 * height * up
        arm: Limb = pose.left_arm if side == "left" else pose.right_arm
        elbow = shoulder + _sagittal(arm.swing, 0.172 * height, sign * arm.abduction)
        wrist = elbow + _sagittal(arm.swing + arm.elbow, 0.15 * height, sign * arm.abduction * 0.5)
        joints[f"{side}_shoulder"], joints[f"{side}_elbow"], joints[f"{side}_wrist"] = shoulder, elbow, wrist
        joints[f"{side}_hand"] = wrist + 0.3 * (wrist - elbow)
        hip = pelvis + hip_width * across
        swing = pose.stride * swings[side]
        flexion = 0.06 + 1.1 * pose.stride * max(recoveries[side], 0.0)
        knee = hip + _sagittal(swing, thigh)
        ankle = knee + _sagittal(swing - flexion, shin)
        joints[f"{side}_hip"], joints[f"{side}_knee"], joints[f"{side}_ankle"] = hip, knee, ankle
        pitch = 0.6 * (swing - flexion)
        joints[f"{side}_toe"] = ankle + height * np.array(
            [0.01 * sign, 0.1 * np.sin(pitch) - 0.02, 0.09 * np.cos(pitch)]
        )
    ground = min(joints["left_ankle"][1], joints["right_ankle"][1]) - 0.042 * height
    return {name: point - np.array([0.0, ground, 0.0]) for name, point in joints.items()}
