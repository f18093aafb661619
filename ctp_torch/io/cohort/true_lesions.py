"""The lesions that are known of a digital patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctp_torch.errors import CTPError, IncompleteSeriesError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.cohort.cohort import CohortPatient

__all__ = ["knows_lesions", "read_true_lesions"]


def knows_lesions(patient: CohortPatient) -> bool:
    """Whether a patient's true core lies beside the scan."""
    return patient.truth_path is not None and (patient.truth_path / "core.nii.gz").is_file()


def read_true_lesions(patient: CohortPatient, geometry: Geometry) -> tuple[Tensor, Tensor | None]:
    """True core and hypoperfusion (core and penumbra) ``(z, y, x)`` bool, in slabs where slices are thin.

    Parameters
    ----------
    patient
        with ``truth/core.nii.gz``; without ``truth/penumbra.nii.gz`` the hypoperfusion is None
    geometry
        of the series, on whose slices they must lie

    Raises
    ------
    IncompleteSeriesError
        if there is no core
    CTPError
        if a mask lies elsewhere
    """
    from ctp_torch.data.slabs import Slabs
    from ctp_torch.io import read_volume

    if patient.truth_path is None or not knows_lesions(patient):
        raise IncompleteSeriesError(f"{patient.name} has no truth/core.nii.gz")
    masks: list[Tensor] = []
    for name in ("core", "penumbra"):
        file = patient.truth_path / f"{name}.nii.gz"
        if not file.is_file():
            return masks[0], None
        volume, grid = read_volume(file)
        if not grid.matches(geometry, tolerance_mm=1.0):
            raise CTPError(f"{file} doesn't lie on the slices of {patient.series_path}")
        masks.append(Slabs.of(grid).mask(volume > 0))
    return masks[0], masks[0] | masks[1]
