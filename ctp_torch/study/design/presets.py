"""How large a study is: a quick one to see everything once, and the paper's."""

from __future__ import annotations

from typing import NamedTuple

from ctp_torch.errors import CTPError

__all__ = ["PRESETS", "Preset", "choose"]


class Preset(NamedTuple):
    """Sizes of a study."""

    name: str
    patients: int
    """Digital patients, where no cohort is given."""
    train: int
    """Of them in training."""
    size: int
    """Rows and columns."""
    sizes: tuple[int, ...]
    """Training sizes [pixels]; the largest is the study's own."""
    seeds: int
    """Draws of training pixels (and forests)."""
    grid_samples: int
    """Pixels behind the hyper-parameter grids."""
    train_scored: int
    """Training patients whose maps are scored, evenly out of all; the first seed alone."""
    robust_patients: int
    """Test patients whose scans are degraded."""
    variants: tuple[str, ...]
    """How they are degraded, names in ``robustness.VARIANTS``."""
    external: int
    """Patients of the cohort that nothing was ever chosen on; 0: none."""
    widths: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """Gaussians [pixels] on every model's predictions."""
    curve_widths: tuple[float, ...] = (0.0, 2.0)
    """The same at the smaller sizes."""


PRESETS = {
    "quick": Preset(
        "quick", patients=12, train=9, size=128, sizes=(1000, 2000, 3000), seeds=2, grid_samples=1000, train_scored=3,
        robust_patients=2, variants=("dose_25", "every_2nd", "cut_45", "unaligned"), external=0,
    ),
    "paper": Preset(
        "paper", patients=38, train=30, size=256, sizes=tuple(range(5000, 25001, 2500)), seeds=3, grid_samples=5000,
        train_scored=8, robust_patients=4, external=8,
        variants=("dose_50", "dose_25", "dose_12", "every_2nd", "every_3rd", "cut_45", "cut_30", "dt_2", "unaligned",
                  "wide_bolus"),
    ),
}  # fmt: skip


def choose(name: str, *, size: int | None = None, seeds: int | None = None) -> Preset:
    """The preset of that name, with another matrix or number of seeds where given.

    Raises
    ------
    CTPError
        for an unknown name
    """
    if name not in PRESETS:
        raise CTPError(f"unknown preset {name!r}; choose among {', '.join(PRESETS)}")
    preset = PRESETS[name]
    return preset._replace(size=size or preset.size, seeds=seeds or preset.seeds)
