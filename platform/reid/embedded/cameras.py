"""Six cameras, each with its own light, colour cast, sharpness and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from reid.embedded.draw import Light


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What makes one camera's images unlike another's."""

    background: str  # one of backgrounds.BACKGROUNDS
    light: Light
    gains: tuple[float, float, float]  # white balance, R G B
    exposure: float
    gamma: float  # above 1 darkens the mid-tones
    contrast: float  # about mid-grey
    blur: float  # radius of a box, pixels
    noise: float  # standard deviation, grey levels
    resolution: float  # share of the pixels' pitch that is really resolved
    yaws: tuple[float, ...]  # degrees: the directions in which people cross the view
    pitch: float  # degrees, looking down


CAMERAS: dict[int, Camera] = {
    1: Camera(
        background="plaza", light=Light(direction=(0.5, -0.6, 0.62)), gains=(1.12, 1.02, 0.84), exposure=1.05,
        gamma=0.92, contrast=1.05, blur=0.3, noise=3.0, resolution=1.0, yaws=(0, 30, 180, -30), pitch=12,
    ),
    2: Camera(
        background="street", light=Light(direction=(-0.6, -0.5, 0.62)), gains=(0.86, 0.98, 1.18), exposure=0.8,
        gamma=1.2, contrast=0.95, blur=0.5, noise=5.0, resolution=0.8, yaws=(180, 150, -20, 90), pitch=16,
    ),
    3: Camera(
        background="bricks", light=Light(direction=(0.1, -0.8, 0.59)), gains=(1.02, 1.0, 0.96), exposure=1.15,
        gamma=0.8, contrast=0.85, blur=0.4, noise=4.0, resolution=0.9, yaws=(90, -90, 60, -60), pitch=10,
    ),
    4: Camera(
        background="lawn", light=Light(direction=(-0.3, -0.7, 0.65), ambient=0.45), gains=(0.94, 1.1, 0.9),
        exposure=1.0, gamma=1.0, contrast=1.3, blur=0.3, noise=4.0, resolution=1.0, yaws=(45, -135, 135, -45), pitch=14,
    ),
    5: Camera(
        background="shop", light=Light(direction=(0.7, -0.2, 0.69), ambient=0.45, diffuse=0.6),
        gains=(1.22, 0.96, 0.76), exposure=0.75, gamma=1.1, contrast=1.1, blur=0.6, noise=7.0,
        resolution=0.75, yaws=(0, 180, 20, -160), pitch=18,
    ),
    6: Camera(
        background="gate", light=Light(direction=(-0.7, -0.4, 0.59), ambient=0.6, diffuse=0.45),
        gains=(1.0, 0.94, 1.08), exposure=0.95, gamma=1.0, contrast=0.75, blur=0.7, noise=6.0,
        resolution=0.55, yaws=(0, 90, 180, -90), pitch=20,
    ),
}  # fmt: skip


def expose(scene: NDArray[np.uint8], camera: Camera, rng: np.random.Generator) -> Image.Image:
    """What the camera makes of a scene (H, W, 3), with a little shot-to-shot change of exposure and white balance."""
    levels = np.arange(256) / 255
    gains = np.array(camera.gains) * camera.exposure * rng.normal(1, 0.09) * rng.normal(1, 0.025, 3)
    curves = np.clip(np.clip(levels * gains[:, None], 0, None) ** camera.gamma, 0, 1.2)
    curves = np.clip((curves - 0.45) * camera.contrast + 0.45, 0, 1) * 255
    image = Image.fromarray(scene).point([int(value) for value in curves.ravel()])
    resolution = camera.resolution * rng.uniform(0.75, 1.0)
    if resolution < 0.95:
        width, height = image.size
        small = image.resize((round(width * resolution), round(height * resolution)), Image.Resampling.BOX)
        image = small.resize((width, height), Image.Resampling.BICUBIC)
    image = image.filter(ImageFilter.BoxBlur(camera.blur * rng.uniform(0.6, 1.4)))
    noise = rng.standard_normal((*image.size[::-1], 1), dtype=np.float32) * np.float32(camera.noise)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
