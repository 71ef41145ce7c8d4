"""OpenPose's weights, at the true size: 52 million random numbers under both kinds of names.

Legend: B images, C channels, H × W input pixels, h × w = H/8 × W/8 map cells.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from reid.config import JOINTS, LIMBS, PoseNetConfig
from reid.data.transforms import normalise
from reid.models import PoseMaps, PoseResolveNet
from reid.models.openpose import is_openpose

STAGES = 6
FRONT_END = {
    "conv1_1": (3, 64), "conv1_2": (64, 64),
    "conv2_1": (64, 128), "conv2_2": (128, 128),
    "conv3_1": (128, 256), "conv3_2": (256, 256), "conv3_3": (256, 256), "conv3_4": (256, 256),
    "conv4_1": (256, 512), "conv4_2": (512, 512), "conv4_3_CPM": (512, 256), "conv4_4_CPM": (256, 128),
}  # fmt: skip
MAPS = {"L1": 38, "L2": 19}
POSITIONS = dict(zip(FRONT_END, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25), strict=True))


def _shapes() -> dict[str, tuple[int, int, int]]:
    """(in, out, kernel) of all 92 layers."""
    shapes = {name: (*channels, 3) for name, channels in FRONT_END.items()}
    for stream, maps in MAPS.items():
        first = [(128, 128, 3)] * 3 + [(128, 512, 1), (512, maps, 1)]
        later = [(185, 128, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1), (128, maps, 1)]
        shapes |= {f"conv5_{layer}_CPM_{stream}": shape for layer, shape in enumerate(first, start=1)}
        for stage in range(2, STAGES + 1):
            shapes |= {f"Mconv{layer}_stage{stage}_{stream}": shape for layer, shape in enumerate(later, start=1)}
    return shapes


@pytest.fixture(scope="module")
def by_layer() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, (inputs, outputs, kernel) in _shapes().items():
        weight = torch.empty(outputs, inputs, kernel, kernel).normal_(generator=generator)
        state[f"{name}.weight"] = weight.mul_((2 / (inputs * kernel**2)) ** 0.5)
        state[f"{name}.bias"] = torch.empty(outputs).normal_(generator=generator).mul_(0.1)
    return state


def _position(name: str) -> str:
    """The name by position, said once more: `model<stage>_<stream>.<layer, counting ReLUs>`."""
    if name in POSITIONS:
        return f"model0.{POSITIONS[name]}"
    if match := re.fullmatch(r"conv5_(\d)_CPM_L(\d)", name):
        return f"model1_{match[2]}.{2 * int(match[1]) - 2}"
    layer, stage, stream = re.fullmatch(r"Mconv(\d)_stage(\d)_L(\d)", name).groups()
    return f"model{stage}_{stream}.{2 * int(layer) - 2}"


def _by_position(by_layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in by_layer.items():
        layer, kind = name.split(".")
        renamed[f"{_position(layer)}.{kind}"] = tensor
    return renamed


def _with_prefix(by_layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As from the whole module: `model1_1.conv5_1_CPM_L1.weight`."""
    return {f"{_position(name.split('.')[0]).split('.')[0]}.{name}": tensor for name, tensor in by_layer.items()}


def _openpose(state: Mapping[str, Tensor], images_BHWC: Tensor, stages: int) -> list[tuple[Tensor, Tensor]]:
    """OpenPose layer by layer: affinity fields and confidence maps of every stage, for uint8 RGB images.

    Beyond the border lies ImageNet's mean colour, where OpenPose has the grey 128.
    """

    def convolve(name: str, x: Tensor, padding: int | None = None) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2 if padding is None else padding)

    beyond = 255 / 256 * torch.tensor([0.406, 0.456, 0.485])[:, None, None] - 0.5
    bgr_BCHW = images_BHWC.permute(0, 3, 1, 2).flip(1) / 256 - 0.5
    x = convolve("conv1_1", F.pad(bgr_BCHW - beyond, (1, 1, 1, 1)) + beyond, padding=0).relu()
    for name in list(FRONT_END)[1:]:
        if name in ("conv2_1", "conv3_1", "conv4_1"):
            x = F.max_pool2d(x, 2)
        x = convolve(name, x).relu()
    features_BChw = x

    found: list[tuple[Tensor, Tensor]] = []
    for stage in range(1, stages + 1):
        names = (
            [f"conv5_{k}_CPM" for k in range(1, 6)] if stage == 1 else [f"Mconv{k}_stage{stage}" for k in range(1, 8)]
        )
        seen = torch.cat((*found[-1], features_BChw), dim=1) if found else features_BChw
        streams = []
        for stream in ("L1", "L2"):
            x = seen
            for name in names[:-1]:
                x = convolve(f"{name}_{stream}", x).relu()
            streams.append(convolve(f"{names[-1]}_{stream}", x))
        found.append((streams[0], streams[1]))
    return found


def _ours(path: Path, images_BHWC: Tensor, **config: object) -> tuple[PoseMaps, ...]:
    net = PoseResolveNet(PoseNetConfig(weights=str(path), **config))
    with torch.no_grad():
        return net(normalise(images_BHWC, (images_BHWC.shape[1], images_BHWC.shape[2])))


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (1, 48, 40, 3), generator=generator, dtype=torch.uint8)


def _save(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path) if path.suffix == ".pth" else save_file(state, path)
    return path


@pytest.mark.parametrize(
    ("rename", "file", "stages"),
    [(dict, "body_pose_model.pth", STAGES), (_by_position, "pose_model.pth", 3), (_with_prefix, "a.safetensors", 1)],
)
def test_every_stage_computes_what_openpose_computes(
    tmp_path: Path, by_layer: dict[str, Tensor], images: Tensor, rename: object, file: str, stages: int
) -> None:
    path = _save(rename(by_layer), tmp_path / file)
    ours = _ours(path, images, stages=stages, parse_blocks=False)
    theirs = _openpose(by_layer, images, stages)
    assert len(ours) == len(theirs) == stages
    for maps, (affinity_BLhw, confidence_BJhw) in zip(ours, theirs, strict=True):
        assert affinity_BLhw.std() > 0.1
        torch.testing.assert_close(maps.affinity_BLhw, affinity_BLhw, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(maps.confidence_BJhw, confidence_BJhw, rtol=1e-4, atol=1e-4)


def test_only_the_border_of_the_first_layer_differs_from_zero_padding(
    tmp_path: Path, by_layer: dict[str, Tensor], images: Tensor
) -> None:
    path = _save(by_layer, tmp_path / "openpose.pth")
    first = PoseResolveNet(PoseNetConfig(weights=str(path), stages=1)).front_end[0]
    ours = first(normalise(images, (48, 40)))
    bgr_BCHW = images.permute(0, 3, 1, 2).flip(1) / 256 - 0.5
    theirs = F.conv2d(bgr_BCHW, by_layer["conv1_1.weight"], by_layer["conv1_1.bias"], padding=1)
    close = torch.isclose(ours, theirs, atol=1e-4).all(dim=1)[0]
    assert close[1:-1, 1:-1].all()
    assert not close[[0, -1]].any()
    assert not close[:, [0, -1]].any()


def test_parse_blocks_start_open(tmp_path: Path, by_layer: dict[str, Tensor], images: Tensor) -> None:
    """Maps of loaded weights keep their height."""
    path = _save(by_layer, tmp_path / "openpose.pth")
    (ours,) = _ours(path, images, stages=1)
    ((affinity_BLhw, confidence_BJhw),) = _openpose(by_layer, images, 1)
    ratio_BJhw = ours.channels() / torch.cat((confidence_BJhw, affinity_BLhw), dim=1)
    ratio_J = ratio_BJhw.median(dim=-1).values.median(dim=-1).values[0]
    torch.testing.assert_close(ratio_BJhw, ratio_J[None, :, None, None].expand_as(ratio_BJhw), rtol=1e-2, atol=1e-2)
    assert (ratio_J > 0.95).all()


def test_channels_are_in_the_order_of_openpose() -> None:
    """As OpenPose's demo pairs joints (counted from 1) and affinity channels (counted behind 19 confidence maps)."""
    joints = [
        (2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14),
        (2, 1), (1, 15), (15, 17), (1, 16), (16, 18), (3, 17), (6, 18),
    ]  # fmt: skip
    channels = [31, 39, 33, 35, 41, 43, 19, 21, 23, 25, 27, 29, 47, 49, 53, 51, 55, 37, 45]
    pairs = dict(zip(channels, joints, strict=True))
    assert [pairs[19 + 2 * limb] for limb in range(19)] == [
        (JOINTS.index(start) + 1, JOINTS.index(end) + 1) for start, end in LIMBS
    ]
    parts = "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle REye LEye"
    sides = {"R": "right_", "L": "left_"}
    names = [
        re.sub("^[RL](?=[A-Z])", lambda side: sides[side[0]], part).lower() for part in (parts + " REar LEar").split()
    ]
    assert tuple(names) == JOINTS


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, {"width": 0.5}, r"'conv1_1.weight' of shape \(64, 3, 3, 3\) where \(32, 3, 3, 3\) is needed"),
        (
            {"conv5_5_CPM_L1.weight": torch.zeros(19, 512, 1, 1)},
            {},
            r"have 'conv5_5_CPM_L1.weight' of shape \(19, 512, 1, 1\) where \(38, 512, 1, 1\) is needed.*: name a file",
        ),
        ({"Mconv1_stage3_L2.bias": None}, {}, "lack 'Mconv1_stage3_L2.bias', so they belong to another architecture"),
        ({"Mconv8_stage2_L1.bias": torch.zeros(1)}, {}, "also hold 'Mconv8_stage2_L1.bias'"),
        ({"prelu4_2.weight": torch.zeros(1)}, {}, "also hold 'prelu4_2.weight'"),
    ],
)
def test_other_models_are_refused(
    tmp_path: Path, change: dict[str, Tensor | None], config: dict[str, object], message: str
) -> None:
    state = {}
    for name, (inputs, outputs, kernel) in _shapes().items():
        state[f"{name}.weight"] = torch.zeros(1).expand(outputs, inputs, kernel, kernel)  # one number in the file
        state[f"{name}.bias"] = torch.zeros(1).expand(outputs)
    state = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.*{message}"):
        PoseResolveNet(PoseNetConfig(weights=str(tmp_path / "other.pth"), **config))


def test_other_weights_are_not_taken_for_openpose(by_layer: dict[str, Tensor]) -> None:
    assert is_openpose(by_layer)
    assert is_openpose(_by_position(by_layer))
    assert is_openpose(_with_prefix(by_layer))
    for name in ("features.0.weight", "0.weight", "conv1.weight", "layer1.0.conv1.weight", "pose_net.reduce.0.bias"):
        assert not is_openpose({name: torch.zeros(1)})
