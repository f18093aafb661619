"""The nouns of the reader: what one image says of itself, where its pixels are, and a file that isn't taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["ImageHeader", "Join", "LeftOut", "PixelLayout"]

Join = Literal["series", "frame-of-reference", "study"]
"""Identifiers that needn't agree: each with those before it."""


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where the stored values of an image are, and how they are written."""

    path: Path
    frame: int
    """Zero-based frame within the file."""
    n_frames: int
    offset: int | None
    """First byte of uncompressed pixel data; None when a decoder must find it."""
    length: int
    """Bytes the file says it holds from there."""
    transfer_syntax: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    samples: int
    photometric: str
    floating: bool = False
    """Whether the values are floating point (32 or 64 bits), as in a Parametric Map."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What one CT image says of itself; missing things are None or empty."""

    pixels: PixelLayout
    uid: str
    study: str
    series: str
    patient: str
    """Who it is, as far as told: only compared, never shown."""
    frame_of_reference: str
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    series_number: int | None
    description: str
    kernel: str
    thickness: float | None
    kvp: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    """Between rows, between columns [mm]."""
    slice_location: float | None
    """A second opinion on the place, from a zero of its own [mm]."""
    slope: float
    intercept: float
    lossy: bool
    """Whether the pixels were once compressed with loss, which alone makes an image derived."""
    rescaled: bool
    """Whether the image tells slope and intercept."""
    rescale_type: str
    """What the scaled values measure."""
    padding: tuple[int, int] | None
    """Stored values from, to (inclusive) that are no measurement."""
    moments: dict[str, float]
    """Time source to seconds."""
    zones: dict[str, float]
    """Time source to the offset from UTC [s] that was taken off, where one is told."""
    orders: dict[str, float]
    """Order source to a number that only sorts."""
    unreadable: dict[str, str]
    """Attribute to what stands in place of numbers or times."""
    vendor: str
    model: str
    completed: str = ""
    """What of its grid it doesn't tell, and was taken from the others of its series."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.pixels.path


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not part of the series, and why."""

    path: Path
    reason: str
    """The kind, the same for all files of a kind."""
    detail: str = ""
    """What is so about this file alone."""
    broken: bool = False
    """Whether it is damaged, and might have belonged to the series."""
    image: ImageHeader | None = None
    """What its header says, where it is an image."""

    def describe(self) -> str:
        """Path, kind and detail in one sentence."""
        if self.detail.startswith(str(self.path)):
            return self.detail
        verb = "" if self.reason.startswith(("is ", "holds ")) else ":"
        return f"{self.path}{verb} {self.reason}" + (f" ({self.detail})" if self.detail else "")
