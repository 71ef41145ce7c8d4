"""The human body as the pose resolve net sees it, and the ways to divide it into branches.

Joints and limbs follow the order of the OpenPose COCO model, so its channels are ours: confidence maps `JOINTS` +
background (19), then two affinity channels (x, y) for each of `LIMBS` (38).
"""

from typing import Literal

from pydantic import Field, model_validator

from reid.config.section import Section

JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

LIMBS = (
    ("neck", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("neck", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("neck", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("right_shoulder", "right_ear"),
    ("neck", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("left_shoulder", "left_ear"),
    ("neck", "nose"), ("nose", "right_eye"), ("nose", "left_eye"), ("right_eye", "right_ear"), ("left_eye", "left_ear"),
)  # fmt: skip

LIMB_NAMES = tuple(f"{start}-{end}" for start, end in LIMBS)

CONFIDENCE_CHANNELS = len(JOINTS) + 1
AFFINITY_CHANNELS = 2 * len(LIMBS)
POSE_CHANNELS = CONFIDENCE_CHANNELS + AFFINITY_CHANNELS

Region = Literal["head", "upper_body", "upper_arm", "lower_arm", "upper_leg", "lower_leg"]


class Part(Section):
    """One branch of the locally reinforced alignment: the pose channels it looks through and what supervises it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the branch; unique within its layout, not `plenary`."""
    joints: tuple[str, ...] = ()
    """Confidence maps, by joint name."""
    limbs: tuple[str, ...] = ()
    """Affinity fields (both components), by limb name such as `neck-nose`."""
    regions: tuple[Region, ...] = ()
    """Body regions it covers: it takes the attributes that the dataset's manifest assigns to them."""
    attributes: tuple[str, ...] | None = None
    """Attributes it is supervised by, named outright; takes the place of `regions`."""
    dim: int = Field(256, ge=1, le=8192)
    """Length of its embedding."""
    triplet: bool = True
    """Whether it carries a triplet loss."""

    @model_validator(mode="after")
    def _channels_are_known(self) -> "Part":
        for kind, names, known in (("joint", self.joints, JOINTS), ("limb", self.limbs, LIMB_NAMES)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(
                    f"part '{self.name}': invalid {kind} '{unknown[0]}', expected one of {', '.join(known)}"
                )
        if not self.joints and not self.limbs:
            raise ValueError(f"part '{self.name}' has neither joints nor limbs: name at least one")
        return self

    def channels(self) -> list[int]:
        """Indices into the 57 pose channels, ascending."""
        confidence = [JOINTS.index(joint) for joint in self.joints]
        first = [CONFIDENCE_CHANNELS + 2 * LIMB_NAMES.index(limb) for limb in self.limbs]
        return sorted({*confidence, *first, *(channel + 1 for channel in first)})


class Layout(Section):
    """A division of the body into branches, beside the plenary branch that sees every channel."""

    parts: tuple[Part, ...] = ()
    """Branches beside the plenary one."""
    plenary_dim: int = Field(512, ge=1, le=8192)
    """Length of the plenary branch's embedding."""
    plenary_triplet: bool = True
    """Whether the plenary branch carries a triplet loss."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Layout":
        names = [part.name for part in self.parts]
        doubled = sorted({name for name in names if names.count(name) > 1 or name == "plenary"})
        if doubled:
            raise ValueError(f"part name '{doubled[0]}' is taken: rename that part")
        return self

    @property
    def descriptor_dim(self) -> int:
        return self.plenary_dim + sum(part.dim for part in self.parts)

    def attributes_of_parts(self, regions: dict[str, Region | None]) -> dict[str, tuple[str, ...]]:
        """Attributes that supervise each branch, `plenary` last.

        Every attribute has one classifier: on the first part that names it or covers its region, else on the plenary
        branch.

        Args:
            regions: the dataset's attributes and the body region that each belongs to; none = the whole body.

        Raises:
            ValueError: a part names an attribute that the dataset lacks.
        """
        left = dict(regions)
        assigned: dict[str, tuple[str, ...]] = {}
        for part in self.parts:
            if part.attributes is None:
                own = [name for name, region in left.items() if region in part.regions]
            else:
                own = list(part.attributes)
                for name in own:
                    if name not in regions:
                        known = ", ".join(regions) or "none"
                        raise ValueError(
                            f"model.layout: part '{part.name}': invalid attribute '{name}', the dataset has {known}"
                        )
            assigned[part.name] = tuple(name for name in own if name in left)
            for name in own:
                left.pop(name, None)
        assigned["plenary"] = tuple(left)
        return assigned


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("right", "left"))


def _limbs(*pairs: tuple[str, str]) -> tuple[str, ...]:
    """Limb names for both sides; `neck` and `nose` have no side."""
    middle = ("neck", "nose")
    return tuple(
        "-".join(end if end in middle else f"{side}_{end}" for end in pair)
        for pair in pairs
        for side in ("right", "left")
    )


_HEAD = Part(
    name="head",
    joints=("nose", *_both("eye", "ear")),
    limbs=("neck-nose", *_limbs(("nose", "eye"), ("eye", "ear"), ("shoulder", "ear"))),
    regions=("head",),
)
_UPPER_BODY = Part(
    name="upper_body",
    joints=("neck", *_both("shoulder")),
    limbs=_limbs(("neck", "shoulder"), ("neck", "hip")),
    regions=("upper_body",),
)


def _arm(side: str) -> Part:
    return Part(
        name=f"{side}_arm",
        joints=(f"{side}_elbow", f"{side}_wrist"),
        limbs=(f"{side}_shoulder-{side}_elbow", f"{side}_elbow-{side}_wrist"),
        regions=("upper_arm", "lower_arm"),
    )


def _upper_leg(side: str) -> Part:
    return Part(
        name=f"{side}_upper_leg",
        joints=(f"{side}_hip",),
        limbs=(f"{side}_hip-{side}_knee",),
        regions=("upper_leg",),
    )


def _lower_leg(side: str) -> Part:
    return Part(
        name=f"{side}_lower_leg",
        joints=(f"{side}_knee", f"{side}_ankle"),
        limbs=(f"{side}_knee-{side}_ankle",),
        regions=("lower_leg",),
    )


LAYOUTS: dict[str, Layout] = {
    "six_parts": Layout(
        parts=(
            _HEAD,
            _UPPER_BODY,
            Part(name="upper_arm", joints=_both("elbow"), limbs=_limbs(("shoulder", "elbow")), regions=("upper_arm",)),
            Part(name="lower_arm", joints=_both("wrist"), limbs=_limbs(("elbow", "wrist")), regions=("lower_arm",)),
            Part(name="upper_leg", joints=_both("hip"), limbs=_limbs(("hip", "knee")), regions=("upper_leg",)),
            Part(
                name="lower_leg", joints=_both("knee", "ankle"), limbs=_limbs(("knee", "ankle")), regions=("lower_leg",)
            ),
        )
    ),
    "three_parts": Layout(
        parts=(
            _HEAD,
            Part(
                name="upper",
                joints=("neck", *_both("shoulder", "elbow", "wrist")),
                limbs=_limbs(("neck", "shoulder"), ("neck", "hip"), ("shoulder", "elbow"), ("elbow", "wrist")),
                regions=("upper_body", "upper_arm", "lower_arm"),
            ),
            Part(
                name="lower",
                joints=_both("hip", "knee", "ankle"),
                limbs=_limbs(("hip", "knee"), ("knee", "ankle")),
                regions=("upper_leg", "lower_leg"),
            ),
        )
    ),
    "eight_parts": Layout(
        parts=(
            _HEAD,
            _UPPER_BODY,
            _arm("right"),
            _arm("left"),
            _upper_leg("right"),
            _upper_leg("left"),
            _lower_leg("right"),
            _lower_leg("left"),
        )
    ),
    "whole_body": Layout(),
}
