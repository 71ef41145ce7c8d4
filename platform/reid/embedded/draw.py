"""A small software renderer: shaded tapered capsules with a depth buffer, seen in parallel projection.

Legend: H, W image size in supersampled pixels, N pixels touched by one primitive.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reid.embedded.skeleton import Point

SUPERSAMPLING = 2

Floats = NDArray[np.float32]
Pattern = Callable[[Floats, Floats], Floats]  # (azimuth_N, fall_N) → RGB (N, 3)
Paint = Floats | Pattern  # RGB (3,) everywhere, or by place
Texels = NDArray[np.int32]
Locate = Callable[[str, Floats, Floats], Texels]  # (chart, azimuth_N, fall_N) → places in the texture


@dataclass(frozen=True, kw_only=True)
class Light:
    """A directional light in the image frame, on top of the ambient share."""

    direction: tuple[float, float, float]  # unit vector towards the light
    ambient: float = 0.55
    diffuse: float = 0.55


@dataclass(frozen=True, kw_only=True)
class Wrap:
    """Shared texture coordinates of several capsules (a trunk with its shoulders): a cylinder around them, pixels."""

    centre_x: float
    radius: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Capsule:
    """A tapered capsule, the one thing that everything is drawn of."""

    start: Point
    """Beginning of the axis in the image frame, in pixels of the final image."""
    end: Point
    radii: tuple[float, float]
    """At start and end, pixels."""
    paint: Paint
    """An RGB colour (3,), or colours by the azimuth around the body (radians, 0 front, positive to the person's left)
    and the fall along the axis (0 start, 1 end)."""
    _: KW_ONLY
    owner: int
    """Whose it is, at least 0."""
    chart: str | None = None
    """Its part of the body in a texture; none = it is no part of a body."""
    yaw: float = 0.0
    """Where the body faces."""
    thickness: float = 1.0
    """Radius towards the camera relative to the one across."""
    flat: bool = False
    """Cut the ends off straight."""
    wrap: Wrap | None = None
    """Take azimuth and fall from this cylinder instead of from the capsule's own axis."""


class Surface(Protocol):
    """What people are drawn on."""

    def draw(self, capsule: Capsule) -> None: ...


class Canvas:
    """Colour, depth and owner of each pixel. `owner` is -1 where nothing was drawn."""

    def __init__(self, height: int, width: int, light: Light, *, locate: Locate | None = None) -> None:
        """
        Args:
            height, width: of the final image, pixels.
            locate: keep which texel of the texture each pixel shows, as this tells it.
        """
        self.height, self.width, self.light = height * SUPERSAMPLING, width * SUPERSAMPLING, light
        self.colour_HW3 = np.zeros((self.height * self.width, 3), np.uint8)
        self.depth_HW = np.full(self.height * self.width, -np.inf, np.float32)
        self.owner_HW = np.full(self.height * self.width, -1, np.int16)
        self._locate = locate
        self._texel_HW = np.full(0 if locate is None else self.height * self.width, -1, np.int32)

    def draw(self, capsule: Capsule) -> None:
        """Draws it where it is nearer than what was drawn before."""
        assert capsule.owner >= 0
        surface = self._surface(capsule)
        if surface is None:
            return
        pixels, depth, fall, facing, nx, ny = surface
        lx, ly, lz = self.light.direction
        lit = np.maximum(nx * np.float32(lx) + ny * np.float32(ly) + facing * np.float32(lz), np.float32(0))
        shade = np.float32(self.light.ambient) + lit * np.float32(self.light.diffuse)
        self.depth_HW[pixels] = depth
        self.owner_HW[pixels] = capsule.owner
        paint = capsule.paint
        if isinstance(paint, np.ndarray):
            self.colour_HW3[pixels] = np.minimum(paint * shade[:, None], np.float32(255))
            if self._locate is None:
                return
        azimuth, fall = self._place(pixels, nx, fall, capsule)
        if not isinstance(paint, np.ndarray):
            self.colour_HW3[pixels] = np.minimum(paint(azimuth, fall) * shade[:, None], np.float32(255))
        if self._locate is not None:
            self._texel_HW[pixels] = -1 if capsule.chart is None else self._locate(capsule.chart, azimuth, fall)

    def _place(self, pixels: NDArray[Any], nx: Floats, fall: Floats, capsule: Capsule) -> tuple[Floats, Floats]:
        """Azimuth and fall of what pixels show."""
        if (wrap := capsule.wrap) is not None:
            across = (pixels % self.width + np.float32(0.5)) / np.float32(SUPERSAMPLING) - np.float32(wrap.centre_x)
            nx = across / np.float32(wrap.radius)
            height = (pixels // self.width + np.float32(0.5)) / np.float32(SUPERSAMPLING) - np.float32(wrap.top)
            fall = height / np.float32(wrap.bottom - wrap.top)
        azimuth = np.arcsin(np.minimum(np.maximum(nx, np.float32(-1)), np.float32(1))) - np.float32(capsule.yaw)
        return (azimuth + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi), fall

    def _surface(self, capsule: Capsule) -> tuple[NDArray[Any], ...] | None:
        """Where it is nearer than what is drawn: pixels, depth, fall along the axis and the normal's (z, x, y)."""
        (x0, y0, z0), (x1, y1, z1) = capsule.start * SUPERSAMPLING, capsule.end * SUPERSAMPLING
        r0, r1 = capsule.radii[0] * SUPERSAMPLING, capsule.radii[1] * SUPERSAMPLING
        reach = max(r0, r1)
        left, right = max(int(min(x0, x1) - reach), 0), min(int(max(x0, x1) + reach) + 1, self.width)
        top, bottom = max(int(min(y0, y1) - reach), 0), min(int(max(y0, y1) + reach) + 1, self.height)
        if left >= right or top >= bottom:
            return None
        dx, dy = x1 - x0, y1 - y0
        px = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - x0)
        py = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y0)
        length_squared = dx * dx + dy * dy + 1e-6
        along = px * np.float32(dx / length_squared) + py * np.float32(dy / length_squared)
        fall = np.minimum(np.maximum(along, np.float32(0)), np.float32(1))
        radius = np.float32(r0) + fall * np.float32(r1 - r0)
        nx, ny = (px - fall * np.float32(dx)) / radius, (py - fall * np.float32(dy)) / radius
        off_axis = nx * nx + ny * ny
        inside = off_axis < 1
        if capsule.flat:
            inside &= fall == along
        rows, columns = np.nonzero(inside)
        picked = rows * (right - left) + columns
        pixels = (rows + top) * self.width + columns + left
        fall, radius, facing = fall.ravel()[picked], radius.ravel()[picked], np.sqrt(1 - off_axis.ravel()[picked])
        depth = np.float32(z0) + fall * np.float32(z1 - z0) + facing * radius * np.float32(capsule.thickness)
        nearer = depth > self.depth_HW[pixels]
        picked = picked[nearer]
        return pixels[nearer], depth[nearer], fall[nearer], facing[nearer], nx.ravel()[picked], ny.ravel()[picked]

    def over(self, background: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Composites what was drawn over an image of the final size (H / SUPERSAMPLING, W / SUPERSAMPLING, 3)."""
        colour = np.asarray(Image.fromarray(self.colour_HW3.reshape(self.height, self.width, 3)).reduce(SUPERSAMPLING))
        empty = ((self.owner_HW < 0) * np.uint8(255)).reshape(self.height, self.width)
        share = np.asarray(Image.fromarray(empty).reduce(SUPERSAMPLING)) * np.float32(1 / 255)
        blended: NDArray[np.uint8] = np.minimum(colour + share[..., None] * background, np.float32(255)).astype(
            np.uint8
        )
        return blended

    def owners(self) -> NDArray[np.int16]:
        """Owner of each pixel of the final image (H / s, W / s), sampled at one of its s² subpixels."""
        return self.owner_HW.reshape(self.height, self.width)[1::SUPERSAMPLING, 1::SUPERSAMPLING]

    def texels(self, owner: int) -> Texels:
        """The texel that each subpixel of `owner` shows, in no order."""
        texels: Texels = self._texel_HW[(self.owner_HW == owner) & (self._texel_HW >= 0)]
        return texels

    def is_visible(self, point: Point, owner: int, tolerance: float) -> bool:
        """Whether a point (image frame, pixels) of `owner` lies at most `tolerance` pixels under what is seen there."""
        column, row = (int(value * SUPERSAMPLING) for value in point[:2])
        if not (0 <= column < self.width and 0 <= row < self.height):
            return False
        pixel = row * self.width + column
        return bool(self.owner_HW[pixel] == owner and self.depth_HW[pixel] <= (point[2] + tolerance) * SUPERSAMPLING)
