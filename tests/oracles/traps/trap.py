"""What a trap is, and the list of them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TRAPS = {}


@dataclass
class Reads:
    """What must come out."""

    hu: np.ndarray
    times: np.ndarray
    origin: tuple = (-100.0, -80.0, 30.0)
    spacing: tuple = (5.0, 0.5, 0.4)
    path: Path | None = None
    options: dict = field(default_factory=dict)
    says: str = ""
    """Words among the warnings or reasons in the notes."""
    source: str = ""
    atol: float = 0.0
    """Of HU, where slices are interpolated."""
    inside: np.ndarray | None = None
    """Where HU are known; elsewhere air is filled in."""


@dataclass
class Refuses:
    """What must be said."""

    error: type
    match: str
    path: Path | None = None
    options: dict = field(default_factory=dict)


def trap(function):
    """Enter a trap into the list."""
    TRAPS[function.__name__] = function
    return function


def as_told(scan, **more):
    """The scan as it was made."""
    return Reads(scan.hu, scan.times - scan.times.min(), **more)


def check(expected, series):
    """Exactly the expected grid, HU and times."""
    assert tuple(series.hu.shape) == expected.hu.shape
    hu, known = np.asarray(series.hu), expected.hu.astype("float32")
    if expected.inside is not None:
        hu, known = np.where(expected.inside, hu, 0), np.where(expected.inside, known, 0)
    np.testing.assert_allclose(hu, known, rtol=0, atol=expected.atol)
    np.testing.assert_allclose(np.asarray(series.times), expected.times - expected.times.min(), atol=2e-6)
    np.testing.assert_allclose(series.geometry.origin, expected.origin, atol=1e-3)
    np.testing.assert_allclose(series.geometry.spacing, expected.spacing, atol=1e-3)


def plane(at, orientation, rows, columns):
    """LPS places of the pixels of an image with 1 mm spacing."""
    y, x = np.mgrid[:rows, :columns]
    return at + x[..., None] * np.array(orientation[:3]) + y[..., None] * np.array(orientation[3:])


def within(folder, name):
    """A path in a folder that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
