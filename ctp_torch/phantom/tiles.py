"""The tile phantom: 7 transit times, 7 delays and 5 volumes on which perfusion programs are compared, in a skull."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.data.provenance import Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import CTPError
from ctp_torch.io.claims import delivered
from ctp_torch.ops.deconvolution.units import volume_per_area
from ctp_torch.phantom.acquisition import AIR_HU, Protocol, geometry_of
from ctp_torch.phantom.curves import TEXTBOOK, Bolus, arterial_curve, exponential_tissue_curve, gamma_venous_curve
from ctp_torch.phantom.noise import noise_amplitude, noise_images

__all__ = ["DELAYS", "TRANSITS", "VOLUMES", "TileTruth", "render_tiles", "write_tiles"]

TRANSITS = (24.0, 12.0, 8.0, 6.0, 4.8, 4.0, 24.0 / 7.0)
"""MTT [s] of the columns of tiles, left to right."""
DELAYS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Delay [s] of the rows of tiles, top to bottom."""
VOLUMES = (1.0, 2.0, 3.0, 4.0, 5.0)
"""CBV [mL/100 g] of the slices."""

_SIZE, _TILE, _EDGE, _BASE_HU = 512, 32, 4, 40.0
_AIF, _VOF = (123, 251, 8), (410, 247, 16)
"""First row, first column, width of the vessels' patches."""
_VEIN_MTT, _VEIN_DELAY = 4.0, 2.0
TissueCurve = Callable[..., Tensor]
"""``(t, bolus, *, flow, mtt, delay) -> HU``, one of ``ctp_torch.phantom.curves``."""


class TileTruth(NamedTuple):
    """What the tiles hold."""

    maps: dict[str, Tensor]
    """cbf [mL/100 g/min], cbv [mL/100 g], mtt, tmax, delay [s]: ``(z, y, x)``, 0 outside the tiles."""
    tile: Tensor
    """``(z, y, x)`` uint8: 1 to 49 row by row, 0 elsewhere."""
    interior: Tensor
    """``(z, y, x)`` bool: tiles without their outer 4 pixels, where programs are judged."""
    vessels: Tensor
    """``(z, y, x)`` uint8: 1 artery, 2 vein."""
    times: Tensor
    """``(time,)`` [s]"""
    aif: Tensor
    """``(time,)`` [HU]"""
    vof: Tensor
    """``(time,)`` [HU], same area as the artery."""


def render_tiles(
    *,
    bolus: Bolus = TEXTBOOK,
    curve: TissueCurve = exponential_tissue_curve,
    noise_hu: float = 0.0,
    dt: float = 1.0,
    frames: int = 60,
    seed: int = 0,
) -> tuple[CTPSeries, TileTruth]:
    """The tile phantom as a scan of 5 slices of 512 x 512, one CBV each, with its truth.

    Rows of 32-pixel tiles differ in delay, columns in transit time; CBF = 60 CBV / MTT. The curves are closed forms.

    Parameters
    ----------
    bolus
        the arterial curve
    curve
        tissue curve of the residue function wanted, from `ctp_torch.phantom`
    noise_hu
        sd of the textured noise [HU]
    dt, frames
        time between frames [s] and their number
    seed
        of the noise

    Returns
    -------
    tuple
        series (time, z, y, x) in HU, and the truth

    Raises
    ------
    ValueError
        for fewer than 10 frames, or a dt or noise that cannot be

    References
    ----------
    Kudo et al., Radiology 267:201 (2013), doi:10.1148/radiol.12112618
    """
    if frames < 10 or not (0 < dt < math.inf) or not (0 <= noise_hu < math.inf):
        raise ValueError(f"frames must be >= 10, dt > 0, noise_hu >= 0, got {frames}, {dt} s, {noise_hu} HU")
    protocol = Protocol(_SIZE, len(VOLUMES), frames, dt, 5.0, 5.0, 220.0)
    geometry = geometry_of(protocol)
    times = torch.arange(frames, dtype=torch.float64) * dt
    truth = _truth(times, bolus)
    delays, transits = torch.tensor(DELAYS, dtype=torch.float64), torch.tensor(TRANSITS, dtype=torch.float64)
    unit = curve(times, bolus, flow=1.0, mtt=transits[None, :, None], delay=delays[:, None, None])  # (7, 7, time)
    still = _head()
    generator = torch.Generator().manual_seed(seed)
    amplitude = noise_amplitude(_SIZE, protocol.fov_mm)
    hu = still.expand(frames, len(VOLUMES), _SIZE, _SIZE).clone()
    inside = truth.tile > 0
    place = truth.tile[inside].long() - 1
    flow = (truth.maps["cbv"] / truth.maps["mtt"].clamp_min(1e-9))[inside] / volume_per_area()  # f [1/s]
    for frame in range(frames):
        hu[frame][inside] += flow * unit[..., frame].reshape(-1).float()[place]
        hu[frame][truth.vessels == 1] += truth.aif[frame]
        hu[frame][truth.vessels == 2] += truth.vof[frame]
        if noise_hu > 0:
            hu[frame] += noise_hu * noise_images(len(VOLUMES), amplitude, generator)
    moments = times[:, None].expand(frames, len(VOLUMES)).contiguous()
    return CTPSeries(hu.clamp_(-1024.0, 3071.0), moments, geometry, Provenance(format="tile phantom")), truth


def _truth(times: Tensor, bolus: Bolus) -> TileTruth:
    """Maps and masks of the tiles, and the vessels' curves."""
    n = len(TRANSITS)
    corner = (_SIZE - n * _TILE) // 2
    spread = torch.arange(n).repeat_interleave(_TILE)  # tile index of a pixel, along either axis
    shape = (len(VOLUMES), _SIZE, _SIZE)
    block = (slice(None), slice(corner, corner + n * _TILE), slice(corner, corner + n * _TILE))
    mtt = torch.tensor(TRANSITS)[spread][None, None, :].expand(len(VOLUMES), n * _TILE, n * _TILE)
    delay = torch.tensor(DELAYS)[spread][None, :, None].expand_as(mtt)
    cbv = torch.tensor(VOLUMES)[:, None, None].expand_as(mtt)
    maps = {}
    for name, values in (("cbf", 60.0 * cbv / mtt), ("cbv", cbv), ("mtt", mtt), ("tmax", delay), ("delay", delay)):
        maps[name] = torch.zeros(shape)
        maps[name][block] = values
    tile = torch.zeros(shape, dtype=torch.uint8)
    tile[block] = (spread[:, None] * n + spread + 1).to(torch.uint8)
    within = (torch.arange(n * _TILE) % _TILE >= _EDGE) & (torch.arange(n * _TILE) % _TILE < _TILE - _EDGE)
    interior = torch.zeros(shape, dtype=torch.bool)
    interior[block] = within[:, None] & within
    vessels = torch.zeros(shape, dtype=torch.uint8)
    for label, (row, column, width) in ((1, _AIF), (2, _VOF)):
        vessels[:, row : row + width, column : column + width] = label
    aif = arterial_curve(times, bolus).float()
    vof = gamma_venous_curve(times, bolus, mtt=_VEIN_MTT, delay=_VEIN_DELAY).float()
    return TileTruth(maps, tile, interior, vessels, times, aif, vof)


def _head() -> Tensor:
    """One slice ``(512, 512)`` [HU] without contrast: brain, a skull thicker on one side and in front, scalp, air.

    The forehead holds an air cell off the midline, so that no rotation maps the skull onto itself.
    """
    axis = torch.arange(_SIZE) - (_SIZE - 1) / 2
    y, x = axis[:, None], axis[None, :]
    angle = torch.atan2(y, x + 0.0 * y)
    egg = 1.0 + 0.04 * torch.sin(angle) + 0.015 * torch.cos(3 * angle + 0.6)
    radius = torch.sqrt((x / 186.0) ** 2 + (y / 214.0) ** 2) / egg  # 1 on the inner table
    depth = (radius - 1.0) * 200.0  # pixels outside it
    bone = 14.0 + 3.0 * torch.cos(angle - 0.7) - 3.0 * torch.sin(angle)
    skin = bone + 9.0

    def occupied(inside: Tensor) -> Tensor:
        return (0.5 + inside).clamp(0.0, 1.0)

    hu = torch.full((_SIZE, _SIZE), AIR_HU)
    hu = torch.lerp(hu, hu.new_tensor(30.0), occupied(skin - depth))
    hu = torch.lerp(hu, hu.new_tensor(-85.0), occupied(skin - 3.0 - depth))
    hu = torch.lerp(hu, hu.new_tensor(1300.0), occupied(bone - depth))
    hu = torch.lerp(hu, hu.new_tensor(600.0), occupied(0.75 * bone - depth))
    hu = torch.lerp(hu, hu.new_tensor(1400.0), occupied(0.25 * bone - depth))
    cell = torch.sqrt(((x - 26.0) / 22.0) ** 2 + ((y + 215.0) / 5.0) ** 2)
    hu = torch.lerp(hu, hu.new_tensor(-980.0), occupied((1.0 - cell) * 5.0))
    return torch.lerp(hu, hu.new_tensor(_BASE_HU), occupied(-depth))


def write_tiles(
    folder: str | Path,
    *,
    bolus: Bolus = TEXTBOOK,
    curve: TissueCurve = exponential_tissue_curve,
    noise_hu: float = 0.0,
    dt: float = 1.0,
    frames: int = 60,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """The tile phantom on disk: ``ct/`` as DICOM, ``truth/`` as NIfTI and JSON.

    Parameters
    ----------
    folder
        where it goes; it appears when all is written
    bolus, curve, noise_hu, dt, frames, seed
        as in ``render_tiles``
    force
        replace what is there

    Raises
    ------
    CTPError
        for settings that cannot be
    OutputExistsError
        when the folder is taken and ``force`` wasn't given
    """
    from ctp_torch.io.dicom.header import StudyHeader
    from ctp_torch.io.dicom.write import write_ct_series
    from ctp_torch.io.nifti.nifti import write_volume

    with delivered(folder, force=force) as partial:
        try:
            series, truth = render_tiles(bolus=bolus, curve=curve, noise_hu=noise_hu, dt=dt, frames=frames, seed=seed)
        except ValueError as error:
            raise CTPError(str(error)) from error
        chosen = [*bolus, curve.__name__, noise_hu, dt, frames, seed]
        header = StudyHeader(patient="TILES", seed="/".join(map(str, chosen)), model="tile phantom")
        # a slope of 1/16 keeps the tiles' small enhancement and still reaches 3,071 HU
        write_ct_series(series, partial / "ct", header=header, slope=0.0625, intercept=-1024.0)
        (partial / "truth").mkdir()
        volumes = {**truth.maps, "tile": truth.tile, "interior": truth.interior, "vessels": truth.vessels}
        for name, volume in volumes.items():
            write_volume(partial / "truth" / f"{name}.nii.gz", volume, series.geometry)
        metadata = {
            "times_s": truth.times.tolist(),
            "aif_hu": [round(v, 5) for v in truth.aif.tolist()],
            "vof_hu": [round(v, 5) for v in truth.vof.tolist()],
            "bolus": bolus._asdict(),
            "tissue_curve": curve.__name__,
            "noise_hu": noise_hu,
            "columns_mtt_s": TRANSITS,
            "rows_delay_s": DELAYS,
            "slices_cbv_ml_100g": VOLUMES,
            "aif_patch_row_column_width": _AIF,
            "vof_patch_row_column_width": _VOF,
        }
        (partial / "truth" / "truth.json").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
    return Path(folder)
