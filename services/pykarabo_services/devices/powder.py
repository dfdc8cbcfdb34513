"""Powder diffraction on a flat detector, computed.

Bragg's law gives the angle of each ring, lambda = 2 d sin(theta); on a detector perpendicular to
the beam at distance L the ring has the radius r = L tan(2 theta). Lattice constants: NIST
certificates SRM 674b (CeO2), 660c (LaB6), 640f (Si). Relative intensities: the powder diffraction
file (cards 34-0394, 34-0427, 27-1402), rounded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pykarabo.errors import BadConfigurationError, did_you_mean


@dataclass(frozen=True, slots=True)
class Calibrant:
    """A cubic powder: lattice constant in Å and relative intensity per reflection (h, k, l)."""

    lattice: float
    reflections: Mapping[tuple[int, int, int], float]

    def spacing(self, reflection: tuple[int, int, int]) -> float:
        """Return d in Å: a / sqrt(h² + k² + l²)."""
        return self.lattice / math.sqrt(sum(index**2 for index in reflection))


CALIBRANTS: Final[Mapping[str, Calibrant]] = {
    "CeO2": Calibrant(
        5.41165,
        {
            (1, 1, 1): 100, (2, 0, 0): 30, (2, 2, 0): 52, (3, 1, 1): 42, (2, 2, 2): 8,
            (4, 0, 0): 8, (3, 3, 1): 14, (4, 2, 0): 8, (4, 2, 2): 14, (5, 1, 1): 11,
        },
    ),
    "LaB6": Calibrant(
        4.156826,
        {
            (1, 0, 0): 54, (1, 1, 0): 100, (1, 1, 1): 41, (2, 0, 0): 22, (2, 1, 0): 46,
            (2, 1, 1): 23, (2, 2, 0): 8, (3, 0, 0): 22, (3, 1, 0): 16, (3, 1, 1): 8,
        },
    ),
    "Si": Calibrant(
        5.431144,
        {
            (1, 1, 1): 100, (2, 2, 0): 55, (3, 1, 1): 30, (4, 0, 0): 6, (3, 3, 1): 11,
            (4, 2, 2): 12, (5, 1, 1): 6,
        },
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PowderSettings:
    """A detector in front of a powder.

    Attributes:
        calibrant: one of `CALIBRANTS`.
        wavelength: Å.
        distance: of sample and detector, mm.
        pixel_size: mm.
        width, height: of the detector, pixels.
        centre_x, centre_y: where the beam hits it, pixels from the first pixel's outer corner.
        ring_width: standard deviation of a ring's profile, pixels.
        photons: expected per pixel on the strongest ring.
        background: expected per pixel everywhere.
        hot_pixels: number of pixels that always count too much.
        seed: of the noise and of the hot pixels' places.
    """

    calibrant: str = "CeO2"
    wavelength: float = 0.5
    distance: float = 100.0
    pixel_size: float = 0.15
    width: int = 512
    height: int = 512
    centre_x: float = 256.0
    centre_y: float = 256.0
    ring_width: float = 1.5
    photons: float = 60.0
    background: float = 2.0
    hot_pixels: int = 20
    seed: int = 1


def require_calibrant(name: str) -> Calibrant:
    """Return a calibrant by name; raises `BadConfigurationError` with near matches."""
    if name not in CALIBRANTS:
        raise BadConfigurationError(
            f"there is no calibrant '{name}'",
            key="calibrant",
            remedy=did_you_mean(name, CALIBRANTS) or f"choose one of {', '.join(CALIBRANTS)}",
        )
    return CALIBRANTS[name]


def ring_radii(settings: PowderSettings) -> list[tuple[float, float]]:
    """Return radius (pixels) and relative intensity (1 for the strongest) of every ring.

    Reflections that cannot occur at the wavelength, or only backwards, are left out.
    """
    calibrant = require_calibrant(settings.calibrant)
    strongest = max(calibrant.reflections.values())
    rings: list[tuple[float, float]] = []
    for reflection, intensity in calibrant.reflections.items():
        sine = settings.wavelength / (2 * calibrant.spacing(reflection))
        two_theta = 2 * math.asin(sine) if sine < 1 else math.pi
        if two_theta < math.pi / 2:
            radius = settings.distance * math.tan(two_theta) / settings.pixel_size
            rings.append((radius, intensity / strongest))
    return rings


class PowderFrames:
    """Frames of a powder's diffraction with photon noise, the same for the same seed."""

    def __init__(self, settings: PowderSettings) -> None:
        self._random = np.random.default_rng(settings.seed)
        self._expected = self._expectation(settings)
        count = min(settings.hot_pixels, self._expected.size)
        self._hot = self._random.choice(self._expected.size, count, replace=False)

    @staticmethod
    def _expectation(settings: PowderSettings) -> npt.NDArray[np.float64]:
        rows, columns = np.indices((settings.height, settings.width), dtype=np.float64)
        radius = np.hypot(columns + 0.5 - settings.centre_x, rows + 0.5 - settings.centre_y)
        expected = np.full(radius.shape, settings.background)
        for ring, intensity in ring_radii(settings):
            profile = np.exp(-((radius - ring) ** 2) / (2 * settings.ring_width**2))
            expected += settings.photons * intensity * profile
        return expected

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """The mean number of photons per pixel, shape (height, width)."""
        return self._expected

    @property
    def hot(self) -> npt.NDArray[Any]:
        """Flat indices of the hot pixels."""
        return self._hot

    def frame(self, index: int) -> npt.NDArray[np.uint16]:
        """Return a new frame, shape (height, width); `index` is not needed."""
        del index
        counts = self._random.poisson(self._expected)
        frame = np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)
        frame.reshape(-1)[self._hot] = np.iinfo(np.uint16).max
        return frame
