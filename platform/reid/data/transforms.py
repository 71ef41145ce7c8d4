# ruff: noqa: N815 - fields carry their shape as a suffix
"""Whole batches from uint8 pixels to normalised, augmented input, on the device.

Random numbers are drawn for the whole global batch on the CPU and then sliced, so that any number of workers sees what
one would have seen.

Legend: B images, C = 3 channels, H × W input pixels, M people, J = 18 joints.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as nn_functional
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from reid.config import CONFIDENCE_CHANNELS, JOINTS, LIMBS, AugmentationConfig
from reid.data.pixels import IGNORE_STRIDE
from reid.data.streams import Stream, generator
from reid.models import IMAGENET_MEAN, IMAGENET_STD

ERASED_AREA = (0.02, 0.4)
"""Smallest and largest share of an image that is erased (Zhong et al., Random Erasing, AAAI 2020)."""
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Height over width of the erased rectangle, likewise; drawn log-uniformly, and clipped to the image."""

_SIDES = {"left": "right", "right": "left"}
_MIRRORED = [
    JOINTS.index(f"{_SIDES[side]}_{joint}" if (side := name.partition("_")[0]) in _SIDES else name)
    for name in JOINTS
    for joint in [name.partition("_")[2]]
]
_LIMB_ENDS = [(JOINTS.index(start), JOINTS.index(end)) for start, end in LIMBS]
_MIRRORED_LIMBS = [LIMBS.index((JOINTS[_MIRRORED[start]], JOINTS[_MIRRORED[end]])) for start, end in _LIMB_ENDS]
_MIRRORED_CHANNELS = [
    *_MIRRORED,
    len(JOINTS),  # the background
    *(CONFIDENCE_CHANNELS + 2 * limb + axis for limb in _MIRRORED_LIMBS for axis in (0, 1)),
]
_TURNED = [1.0] * CONFIDENCE_CHANNELS + [-1.0, 1.0] * len(LIMBS)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random choices for a batch; a slice of them belongs to a slice of the images."""

    flip_B: Tensor
    """bool: mirrored left to right."""
    shift_B2: Tensor
    """int64 (y, x): pixels by which the crop is moved, -pad..pad."""
    erase_B4: Tensor
    """int64 (top, left, bottom, right) in input pixels; empty = nothing is erased."""
    gain_BC: Tensor
    """float32 factor of each colour channel."""
    contrast_B: Tensor
    """float32 factor of the distance from the image's mean grey."""

    def __getitem__(self, rows: slice) -> "Draws":
        return Draws(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device) -> "Draws":
        return Draws(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw(
    config: AugmentationConfig, batch_size: int, image_size: tuple[int, int], *, seed: int, epoch: int, step: int
) -> Draws:
    """Draw for a global batch; a pure function of its arguments.

    Args:
        image_size: (height, width) of the model's input, pixels.
        step: number of the batch within the epoch.
    """
    rng = generator(Stream.AUGMENT, seed, epoch, step)
    size_2 = torch.tensor(image_size)
    uniform = torch.from_numpy(rng.random((batch_size, 11)))
    shift_B2 = (uniform[:, 1:3] * (2 * config.pad + 1)).long() - config.pad
    area_B = (ERASED_AREA[0] + uniform[:, 4] * (ERASED_AREA[1] - ERASED_AREA[0])) * size_2.prod()
    aspect_B = ERASED_ASPECT[0] * (ERASED_ASPECT[1] / ERASED_ASPECT[0]) ** uniform[:, 5]
    extent_B2 = torch.stack([area_B * aspect_B, area_B / aspect_B], dim=1).sqrt().round().long().minimum(size_2)
    extent_B2 = extent_B2 * (uniform[:, 3:4] < config.erase)
    corner_B2 = (uniform[:, 6:8] * (size_2 - extent_B2 + 1)).long()
    spread = torch.from_numpy(rng.uniform(1 - config.colour, 1 + config.colour, (batch_size, 4))).float()
    return Draws(
        flip_B=uniform[:, 0] < config.flip,
        shift_B2=shift_B2,
        erase_B4=torch.cat([corner_B2, corner_B2 + extent_B2], dim=1),
        gain_BC=spread[:, :3],
        contrast_B=spread[:, 3],
    )


def normalise(images_BHWC: Tensor, image_size: tuple[int, int]) -> Tensor:
    """uint8 B × H' × W' × 3 → float32 B × 3 × H × W by ImageNet's statistics, in channels-last memory."""
    return _standardised(_to_float(_resized(images_BHWC, image_size)))


def augment(images_BHWC: Tensor, draws: Draws, config: AugmentationConfig, image_size: tuple[int, int]) -> Tensor:
    """As `normalise`, with the drawn changes: flip, shifted crop of the zero-padded image, colour, erased rectangle.

    A rectangle is erased with ImageNet's mean colour.
    """
    if config.flip:
        images_BHWC = torch.where(draws.flip_B[:, None, None, None], images_BHWC.flip(2), images_BHWC)
    images_BCHW = _resized(images_BHWC, image_size)
    if config.pad:
        images_BCHW = _shifted(images_BCHW, draws.shift_B2, config.pad)
    images_BCHW = _to_float(images_BCHW)
    if config.colour:
        mean_B111 = F.rgb_to_grayscale(images_BCHW).mean(dim=(1, 2, 3), keepdim=True)
        contrasted_BCHW = mean_B111 + (images_BCHW - mean_B111) * draws.contrast_B[:, None, None, None]
        images_BCHW = (contrasted_BCHW * draws.gain_BC[:, :, None, None]).clamp(0, 255)
    images_BCHW = _standardised(images_BCHW)
    if config.erase:
        images_BCHW.masked_fill_(_rectangles(draws.erase_B4, image_size)[:, None], 0.0)
    return images_BCHW


def augment_pose(
    keypoints_BMJ3: Tensor, ignore_BHW: Tensor, draws: Draws, config: AugmentationConfig, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Move joints and ignore masks as `augment` moves the images; left and right joints change places in a flip.

    Joints that leave the image count as not labelled.
    """
    height, width = image_size
    if config.flip:
        mirrored_BMJ3 = keypoints_BMJ3[:, :, _MIRRORED] * keypoints_BMJ3.new_tensor([-1, 1, 1])
        mirrored_BMJ3 = mirrored_BMJ3 + keypoints_BMJ3.new_tensor([width - 1, 0, 0])
        keypoints_BMJ3 = torch.where(draws.flip_B[:, None, None, None], mirrored_BMJ3, keypoints_BMJ3)
        ignore_BHW = torch.where(draws.flip_B[:, None, None], ignore_BHW.flip(-1), ignore_BHW)
    if config.pad:
        xy_BMJ2 = keypoints_BMJ3[..., :2] - draws.shift_B2.flip(1)[:, None, None]
        limit_2 = xy_BMJ2.new_tensor([width, height]) - 0.5
        inside_BMJ1 = ((xy_BMJ2 >= -0.5) & (xy_BMJ2 < limit_2)).all(dim=-1, keepdim=True)
        keypoints_BMJ3 = torch.cat([xy_BMJ2, keypoints_BMJ3[..., 2:] * inside_BMJ1], dim=-1)
        full_B1HW = ignore_BHW[:, None].repeat_interleave(IGNORE_STRIDE, -1).repeat_interleave(IGNORE_STRIDE, -2)
        full_B1HW = _shifted(full_B1HW.to(torch.uint8), draws.shift_B2, config.pad)
        ignore_BHW = nn_functional.max_pool2d(full_B1HW.float(), IGNORE_STRIDE)[:, 0] > 0
    return keypoints_BMJ3 * (keypoints_BMJ3[..., 2:] > 0), ignore_BHW


def move_maps(maps_BJhw: Tensor, draws: Draws, config: AugmentationConfig, image_size: tuple[int, int]) -> Tensor:
    """Move pose maps of unchanged images as `augment` moves the images; colour and erasing leave them as they are.

    A flip exchanges the channels of left and right, and turns the fields. A shift by less than a cell interpolates
    between cells; what comes in at the border repeats the border.

    Args:
        maps_BJhw: all 57 channels, in the order of `config.body`.
        image_size: (height, width) of the model's input, pixels.
    """
    if config.flip:
        mirrored_BJhw = maps_BJhw[:, _MIRRORED_CHANNELS].flip(3) * maps_BJhw.new_tensor(_TURNED)[:, None, None]
        maps_BJhw = torch.where(draws.flip_B[:, None, None, None], mirrored_BJhw, maps_BJhw)
    if config.pad:
        height, width = image_size
        shift_B2 = 2 * draws.shift_B2.flip(1) / maps_BJhw.new_tensor([width, height])
        affine_B23 = torch.cat((torch.eye(2).to(shift_B2).expand(len(shift_B2), 2, 2), shift_B2[..., None]), dim=2)
        grid_Bhw2 = nn_functional.affine_grid(affine_B23, list(maps_BJhw.shape), align_corners=False)
        maps_BJhw = nn_functional.grid_sample(maps_BJhw, grid_Bhw2, padding_mode="border", align_corners=False)
    return maps_BJhw


def mirror_textures(textures_BHWC: Tensor, draws: Draws, config: AugmentationConfig) -> Tensor:
    """Mirror textures, of one of our layouts, where `augment` mirrors the images; all else leaves them as they are."""
    if not config.flip:
        return textures_BHWC
    return torch.where(draws.flip_B[:, None, None, None], textures_BHWC.flip(2), textures_BHWC)


def texture_target(textures_BHWC: Tensor, side: int) -> Tensor:
    """uint8 B × S × S × 3 → float32 B × 3 × side × side in [−1, 1]."""
    return _to_float(_resized(textures_BHWC, (side, side))).sub_(127.5).div_(127.5)


def _resized(images_BHWC: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Channels first in shape, channels last in memory."""
    images_BCHW = images_BHWC.permute(0, 3, 1, 2)
    if tuple(images_BCHW.shape[2:]) == tuple(image_size):
        return images_BCHW
    resized_BCHW: Tensor = F.resize(images_BCHW, list(image_size), antialias=True)
    return resized_BCHW


def _to_float(images_BCHW: Tensor) -> Tensor:
    return images_BCHW.to(torch.float32, memory_format=torch.channels_last)


def _standardised(images_BCHW: Tensor) -> Tensor:
    """In place, from 0..255."""
    mean = images_BCHW.new_tensor(IMAGENET_MEAN)[:, None, None]
    std = images_BCHW.new_tensor(IMAGENET_STD)[:, None, None]
    return images_BCHW.sub_(255 * mean).div_(255 * std)


def _shifted(images_BCHW: Tensor, shift_B2: Tensor, pad: int) -> Tensor:
    """Crops of the original size from the zero-padded images, each at its own place."""
    batch, _, height, width = images_BCHW.shape
    padded_BHWC = nn_functional.pad(images_BCHW, [pad] * 4).permute(0, 2, 3, 1)
    rows_BH = shift_B2[:, :1] + pad + torch.arange(height, device=shift_B2.device)
    columns_BW = shift_B2[:, 1:] + pad + torch.arange(width, device=shift_B2.device)
    image_B = torch.arange(batch, device=shift_B2.device)
    cropped_BHWC = padded_BHWC[image_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]
    return cropped_BHWC.permute(0, 3, 1, 2)


def _rectangles(erase_B4: Tensor, image_size: tuple[int, int]) -> Tensor:
    """bool B × H × W: inside of each image's rectangle."""
    top, left, bottom, right = erase_B4[:, :, None].unbind(dim=1)
    rows = torch.arange(image_size[0], device=erase_B4.device)
    columns = torch.arange(image_size[1], device=erase_B4.device)
    rows_BH, columns_BW = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return rows_BH[:, :, None] & columns_BW[:, None, :]
