"""A procedural scene and the camera that photographs it: what real pictures of the demo are made of.

Scenes are linear light; the camera adds the traces that forensics looks for and that an edit
disturbs: optics, photon and read noise, a sensor pattern, and the interpolation of a Bayer mosaic.
"""

import dataclasses
import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[Any]
"""Float32 [H, W, 3] or [H, W]; the stubs of SciPy lose the dtype, the tests check it."""

GAMMA = 2.2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """One device: its optics, sensor and development.

    Attributes:
        psf_sigma_px: Width of the Gaussian point spread of the lens, in pixels.
        aberration: Relative magnification of red against green; blue has the opposite sign.
        vignetting: Share of light lost in the corners, in [0, 1].
        photon_noise: Variance of the noise over the signal, both linear with white at 1.
        read_noise: Standard deviation of the noise in the dark, white at 1.
        gain_rgb: Sensitivity of the three colours, undone by the white balance.
        prnu_HW: Relative sensitivity of each photosite, float32 with mean 1; the fixed pattern of
            the sensor (Lukas, Fridrich and Goljan, "Digital camera identification from sensor
            pattern noise", 2006).
        smooth_hue: Interpolate colour differences to green instead of each colour alone.
    """

    psf_sigma_px: float
    aberration: float
    vignetting: float
    photon_noise: float
    read_noise: float
    gain_rgb: tuple[float, float, float]
    prnu_HW: Picture
    smooth_hue: bool


def draw_camera(size_px: int, rng: np.random.Generator) -> Camera:
    """Draw a camera with a square sensor of ``size_px`` photosites a side."""
    return Camera(
        psf_sigma_px=float(rng.uniform(0.45, 0.65)),
        aberration=float(rng.uniform(-1.5e-3, 1.5e-3)),
        vignetting=float(rng.uniform(0.0, 0.3)),
        photon_noise=float(rng.uniform(2e-4, 8e-4)),
        read_noise=float(rng.uniform(2e-3, 5e-3)),
        gain_rgb=(float(rng.uniform(0.5, 0.7)), 1.0, float(rng.uniform(0.55, 0.8))),
        prnu_HW=1 + 0.012 * rng.standard_normal((size_px, size_px), np.float32),
        smooth_hue=bool(rng.integers(2)),
    )


def shoot(scene_HWC: Picture, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph a scene and develop the picture.

    Args:
        scene_HWC: Linear light, float32 [H, W, 3] in [0, 1], as large as the camera's sensor.
        camera: The device.
        rng: Source of the noise.

    Returns:
        The developed picture, RGB uint8 [H, W, 3], never compressed.
    """
    light = _optics(scene_HWC, camera)
    mosaic = _mosaic(light * np.asarray(camera.gain_rgb, np.float32)) * camera.prnu_HW
    deviation = np.sqrt(camera.photon_noise * mosaic + camera.read_noise**2)
    mosaic += deviation * rng.standard_normal(mosaic.shape, np.float32)
    linear = _demosaic(mosaic, camera.smooth_hue) / np.asarray(camera.gain_rgb, np.float32)
    return quantize(np.clip(linear, 0, 1) ** (1 / GAMMA) * 255)


def quantize(x_HWC: Picture) -> NDArray[np.uint8]:
    """Round to the nearest of 256 levels; float32 on the scale [0, 255] -> uint8, same shape."""
    return np.clip(np.rint(x_HWC), 0, 255).astype(np.uint8)


def draw_scene(size_px: int, rng: np.random.Generator, face: bool = True) -> Picture:
    """Draw a scene: a textured, unevenly lit ground and shaded bodies.

    Args:
        size_px: Side of the scene.
        rng: Source of everything random.
        face: Whether a face-like body is the foremost.

    Returns:
        Linear light, float32 [size_px, size_px, 3] in [0, 1].
    """
    y_HW, x_HW = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope_HW = (0.5 + 0.35 * (math.cos(angle) * x_HW + math.sin(angle) * y_HW))[..., None]
    scene = slope_HW * draw_colour(rng) + (1 - slope_HW) * draw_colour(rng)
    scene *= 1 + rng.uniform(0.1, 0.35) * draw_texture(size_px, rng)[..., None]
    grain_HW = draw_texture(size_px, rng)
    for _ in range(rng.integers(3, 7)):
        squareness = int(rng.choice((0, 2)))
        pose = Pose.draw(x_HW, y_HW, rng)
        add_body(scene, pose, draw_colour(rng), grain_HW * rng.uniform(0, 0.3), squareness)
    if face:
        _add_face(scene, Pose.draw(x_HW, y_HW, rng), grain_HW, rng)
    bounded: Picture = np.clip(scene, 0.01, 1)
    return bounded


# --- scene ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Coordinates in which a body is the unit disc (or square), and the size of a pixel there."""

    u_HW: Picture
    v_HW: Picture
    pixel: float

    @classmethod
    def draw(cls, x_HW: Picture, y_HW: Picture, rng: np.random.Generator) -> Self:
        """Draw a place, size and angle on a square picture whose sides are -1 and 1."""
        angle, width = rng.uniform(0, np.pi), rng.uniform(0.2, 0.6)
        height = width * rng.uniform(0.6, 1.6)
        x, y = x_HW - rng.uniform(-0.7, 0.7), y_HW - rng.uniform(-0.7, 0.7)
        pose = cls(u_HW=x, v_HW=y, pixel=2 / x_HW.shape[0])
        return pose.turned(angle).part(0, 0, width, height)

    def turned(self, angle_rad: float) -> Self:
        """Return the same pose turned clockwise about its centre."""
        cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
        return dataclasses.replace(
            self, u_HW=cosine * self.u_HW + sine * self.v_HW, v_HW=cosine * self.v_HW - sine * self.u_HW
        )

    def part(self, u: float, v: float, width: float, height: float | None = None) -> Self:
        """Return a smaller pose at a place within this one; without a height it is as high as wide."""
        height = width if height is None else height
        return dataclasses.replace(
            self,
            u_HW=(self.u_HW - u) / width,
            v_HW=(self.v_HW - v) / height,
            pixel=self.pixel / min(width, height),
        )


def draw_colour(rng: np.random.Generator) -> Picture:
    """Draw the colour of a surface, linear light, float32 [3] in [0.04, 1)."""
    return np.asarray(rng.uniform(0.08, 0.75) * rng.uniform(0.5, 1.3, 3), np.float32)


def draw_texture(size_px: int, rng: np.random.Generator) -> Picture:
    """Return noise of zero mean and unit deviation whose amplitude falls with frequency as in photos."""
    frequency = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((size_px, size_px), np.float32))
    texture = np.fft.irfft2(white * frequency ** -rng.uniform(0.9, 1.5), (size_px, size_px))
    return np.asarray(texture / texture.std(), np.float32)


def add_body(scene: Picture, pose: Pose, colour: Picture, grain_HW: Picture, squareness: int = 0) -> None:
    """Paint a shaded superellipse of exponent 2^(1 + squareness) over the scene."""
    reach = 1 + pose.pixel / 2
    near_HW = (np.abs(pose.u_HW) < reach) & (np.abs(pose.v_HW) < reach)
    rows, columns = np.flatnonzero(near_HW.any(1)), np.flatnonzero(near_HW.any(0))
    if not rows.size:
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    u_HW, v_HW = pose.u_HW[window] ** 2, pose.v_HW[window] ** 2
    for _ in range(squareness):
        u_HW, v_HW = u_HW**2, v_HW**2
    distance_HW = np.sqrt(u_HW + v_HW)
    for _ in range(squareness):
        distance_HW = np.sqrt(distance_HW)
    edge_HW = np.clip((1 - distance_HW) / pose.pixel + 0.5, 0, 1)
    shade_HW = 0.6 + 0.4 * np.sqrt(np.clip(1 - 0.9 * distance_HW**2, 0, 1)) + 0.15 * pose.u_HW[window]
    body_HWC = (shade_HW * (1 + grain_HW[window]))[..., None] * colour
    scene[window] += edge_HW[..., None] * (body_HWC - scene[window])


def _add_face(scene: Picture, pose: Pose, grain_HW: Picture, rng: np.random.Generator) -> None:
    skin = np.asarray((0.62, 0.4, 0.3), np.float32) * rng.uniform(0.3, 1.3)
    add_body(scene, pose, skin, grain_HW * 0.06)
    for side in (-0.38, 0.38):
        add_body(scene, pose.part(side, -0.2, 0.17), np.full(3, 0.7, np.float32), grain_HW * 0)
        add_body(scene, pose.part(side, -0.2, 0.08), np.full(3, 0.04, np.float32), grain_HW * 0)
    add_body(scene, pose.part(0, 0.5, 0.2), skin * np.asarray((0.8, 0.4, 0.4), np.float32), grain_HW * 0.1)


# --- camera --------------------------------------------------------------------------------------

_RED = (slice(0, None, 2), slice(0, None, 2))
_BLUE = (slice(1, None, 2), slice(1, None, 2))
_CROSS = np.asarray([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4


def _optics(scene_HWC: Picture, camera: Camera) -> Picture:
    size = scene_HWC.shape[0]
    centre = (size - 1) / 2
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    falloff_HW = 1 - camera.vignetting * (axis[:, None] ** 2 + axis[None] ** 2) / 2
    spread_px = (camera.psf_sigma_px, camera.psf_sigma_px, 0)
    light: Picture = ndimage.gaussian_filter(scene_HWC, spread_px, truncate=3)
    for channel, shift in ((0, camera.aberration), (2, -camera.aberration)):
        light[..., channel] = ndimage.affine_transform(
            light[..., channel], (1 + shift, 1 + shift), offset=-shift * centre, order=1, mode="nearest"
        )
    return light * falloff_HW[..., None]


def _mosaic(x_HWC: Picture) -> Picture:
    """Keep one colour a photosite: red, green / green, blue."""
    mosaic = x_HWC[..., 1].copy()
    mosaic[_RED], mosaic[_BLUE] = x_HWC[_RED][..., 0], x_HWC[_BLUE][..., 2]
    return mosaic


def _demosaic(mosaic_HW: Picture, smooth_hue: bool) -> Picture:
    green = mosaic_HW.copy()
    green[_RED] = green[_BLUE] = 0
    green = ndimage.convolve(green, _CROSS, mode="mirror")
    reference = green if smooth_hue else np.zeros_like(green)
    planes = []
    for site in (_RED, _BLUE):
        sparse = np.zeros_like(green)
        sparse[site] = mosaic_HW[site] - reference[site]
        for axis in (0, 1):
            sparse = ndimage.convolve1d(sparse, (0.5, 1, 0.5), axis, mode="mirror")
        planes.append(sparse + reference)
    return np.stack((planes[0], green, planes[1]), axis=-1)
