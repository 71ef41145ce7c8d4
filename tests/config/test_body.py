"""The body's channels and the layouts that divide them."""

from collections import Counter

import pytest
from pydantic import ValidationError

from reid.config import JOINTS, LAYOUTS, LIMB_NAMES, LIMBS, Layout, Part
from reid.config.body import CONFIDENCE_CHANNELS, POSE_CHANNELS

BACKGROUND = len(JOINTS)
DIVIDING = [name for name, layout in LAYOUTS.items() if layout.parts]
REGIONS = {
    "hat": "head",
    "hair": "head",
    "upper_colour": "upper_body",
    "sleeve": "lower_arm",
    "trousers": "lower_leg",
    "lower_colour": "upper_leg",
}


def test_the_counts_are_the_papers() -> None:
    assert len(JOINTS) == len(set(JOINTS)) == 18
    assert len(LIMBS) == len(set(LIMB_NAMES)) == 19
    assert (CONFIDENCE_CHANNELS, POSE_CHANNELS) == (19, 57)
    assert {end for limb in LIMBS for end in limb} == set(JOINTS)


@pytest.mark.parametrize("name", DIVIDING)
def test_a_layout_puts_every_channel_but_the_background_in_exactly_one_part(name: str) -> None:
    seen = Counter(channel for part in LAYOUTS[name].parts for channel in part.channels())
    assert seen == Counter(set(range(POSE_CHANNELS)) - {BACKGROUND})


@pytest.mark.parametrize("name", DIVIDING)
def test_a_layout_covers_every_region(name: str) -> None:
    covered = {region for part in LAYOUTS[name].parts for region in part.regions}
    assert covered == {"head", "upper_body", "upper_arm", "lower_arm", "upper_leg", "lower_leg"}


@pytest.mark.parametrize(("name", "parts", "dim"), [("six_parts", 6, 2048), ("three_parts", 3, 1280)])
def test_part_counts_and_descriptor_lengths(name: str, parts: int, dim: int) -> None:
    assert len(LAYOUTS[name].parts) == parts
    assert LAYOUTS[name].descriptor_dim == dim


def mirrored(part: Part) -> set[str]:
    """The joints and limbs that a part sees when the image is flipped."""
    other = {"left": "right", "right": "left"}
    words = {"_".join(other.get(word, word) for word in name.split("_")) for name in part.joints}
    limbs = {
        "-".join("_".join(other.get(word, word) for word in end.split("_")) for end in name.split("-"))
        for name in part.limbs
    }
    return words | limbs


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_flipped_image_has_the_same_parts(name: str) -> None:
    """Each part is its own mirror image, or another part's."""
    parts = LAYOUTS[name].parts
    assert sorted(sorted(mirrored(part)) for part in parts) == sorted(
        sorted({*part.joints, *part.limbs}) for part in parts
    )


def test_eight_parts_keeps_left_and_right_apart() -> None:
    sides = [{joint.split("_")[0] for joint in part.joints} for part in LAYOUTS["eight_parts"].parts[2:]]
    assert sides == [{"right"}, {"left"}] * 3


def test_channels_of_a_part_follow_joint_and_limb_order() -> None:
    part = Part(name="a", joints=("neck", "nose"), limbs=("right_hip-right_knee",))
    first = 19 + 2 * LIMBS.index(("right_hip", "right_knee"))
    assert part.channels() == [0, 1, first, first + 1]


def test_attributes_go_to_the_part_of_their_region_and_the_rest_to_the_plenary_branch() -> None:
    layout = Layout(
        parts=(
            Part(name="top", joints=("nose",), regions=("head",)),
            Part(name="legs", joints=("right_hip",), regions=("upper_leg", "lower_leg")),
        )
    )
    assert layout.attributes_of_parts(REGIONS) == {
        "top": ("hat", "hair"),
        "legs": ("trousers", "lower_colour"),
        "plenary": ("upper_colour", "sleeve"),
    }


def test_named_attributes_take_the_place_of_regions() -> None:
    layout = Layout(parts=(Part(name="top", joints=("nose",), regions=("head",), attributes=("sleeve",)),))
    assigned = layout.attributes_of_parts(REGIONS)
    assert assigned["top"] == ("sleeve",)
    assert "hat" in assigned["plenary"]


@pytest.mark.parametrize("second", [{"regions": ("head",)}, {"attributes": ("hat", "hair")}])
def test_an_attribute_belongs_to_the_first_part_that_claims_it(second: dict[str, tuple[str, ...]]) -> None:
    layout = Layout(
        parts=(
            Part(name="first", joints=("nose",), attributes=("hat",)),
            Part.model_validate({"name": "second", "joints": ("neck",), **second}),
        )
    )
    assigned = layout.attributes_of_parts(REGIONS)
    assert assigned["first"] == ("hat",)
    assert assigned["second"] == ("hair",)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_attribute_has_exactly_one_branch(name: str) -> None:
    assigned = LAYOUTS[name].attributes_of_parts(REGIONS)
    assert sorted(attribute for own in assigned.values() for attribute in own) == sorted(REGIONS)
    assert list(assigned) == [*(part.name for part in LAYOUTS[name].parts), "plenary"]


def test_an_attribute_that_the_dataset_lacks_is_named() -> None:
    layout = Layout(parts=(Part(name="a", joints=("nose",), attributes=("scarf",)),))
    with pytest.raises(ValueError, match="part 'a': invalid attribute 'scarf', the dataset has hat, hair"):
        layout.attributes_of_parts(REGIONS)
    with pytest.raises(ValueError, match="the dataset has none"):
        layout.attributes_of_parts({})


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([{"name": "a", "joints": ["knee"]}], "invalid joint 'knee', expected one of nose, neck"),
        ([{"name": "a", "limbs": ["nose-neck"]}], "invalid limb 'nose-neck', expected one of neck-right_hip"),
        ([{"name": "a"}], "neither joints nor limbs"),
        ([{"name": "A", "joints": ["nose"]}], "pattern"),
        ([{"name": "a", "joints": ["nose"], "regions": ["foot"]}], "'head', 'upper_body'"),
        ([{"name": "plenary", "joints": ["nose"]}], "part name 'plenary' is taken"),
        ([{"name": "a", "joints": ["nose"]}, {"name": "a", "joints": ["neck"]}], "part name 'a' is taken"),
    ],
)
def test_a_bad_part_is_refused(parts: list[dict[str, object]], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Layout.model_validate({"parts": parts})
