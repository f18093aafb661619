"""Series and maps as what neighbours hold: numpy arrays, nibabel and SimpleITK images and back; MONAI, TorchIO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.provenance import Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import CTPError, check_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["from_nibabel", "from_numpy", "from_sitk", "to_monai", "to_nibabel", "to_sitk", "to_torchio"]

_SKEW = 1e-3
"""Cosines between the axes of a grid that count as rounding."""


def from_numpy(
    hu: Any,
    *,
    spacing: tuple[float, float, float],
    dt: float | None = None,
    times: Any = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    direction: Sequence[float] | None = None,
) -> CTPSeries:
    """A series from an array, whose memory it shares where that is float32 or float64.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU], what ``numpy.asarray`` takes; integers become float32
    spacing
        distance between voxel centres along z, y, x [mm]
    dt
        time between frames [s]; or give ``times``
    times
        ``(time,)`` or ``(time, z)`` [s]
    origin
        LPS position x, y, z of the centre of voxel (0, 0, 0) [mm]
    direction
        nine row-major cosines, columns the x, y and z axes of the grid in LPS; axial when None

    Raises
    ------
    ValueError
        if the array isn't four-dimensional, neither or both of ``dt`` and ``times`` are given, or they don't fit
    """
    import numpy as np
    import torch

    from ctp_torch.io.nifti.nifti import ascending

    array = np.asarray(hu)
    if array.ndim != 4:
        raise ValueError(f"a series is (time, z, y, x), got an array of shape {array.shape}")
    if array.dtype.kind not in "iuf":
        raise ValueError(f"a series holds real numbers [HU], got an array of {array.dtype}")
    wanted = array.dtype if array.dtype in (np.dtype("f4"), np.dtype("f8")) else np.dtype("f4")
    array = np.ascontiguousarray(array, dtype=wanted)
    values = torch.from_numpy(array if array.flags.writeable else array.copy())
    moments = _moments(dt, times, array.shape[0], array.shape[1])
    cosines = Geometry.__dataclass_fields__["direction"].default if direction is None else tuple(map(float, direction))
    geometry = Geometry(tuple(array.shape[1:]), tuple(map(float, spacing)), tuple(map(float, origin)), cosines)  # type: ignore[arg-type]
    values, moments, geometry = ascending(values, moments, geometry)
    return CTPSeries(values, moments - moments.min(), geometry, Provenance(format="array", time_source="given"))


def from_nibabel(image: Any, *, dt: float | None = None, times: Any = None) -> CTPSeries:
    """A series from a nibabel image of four dimensions, time last; its values are [HU].

    Parameters
    ----------
    image
        such as ``nibabel.load`` gives
    dt, times
        as in `from_numpy`; the fourth spacing of the header when neither is given

    Raises
    ------
    ValueError
        as `from_numpy`, and for axes that aren't perpendicular
    """
    import numpy as np

    if not hasattr(image, "dataobj"):
        raise TypeError(f"from_nibabel: image must be a nibabel image, got {type(image).__name__}: nibabel.load(FILE)")
    values = np.asanyarray(image.dataobj)
    if values.ndim != 4:
        raise ValueError(f"a series is a 4-D image, time last, got shape {values.shape}")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, "f8")
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    if not (np.isfinite(lps).all() and (steps > 0).all()):
        raise ValueError("the image's affine isn't a grid: it holds no number, or an axis of length 0")
    cosines = lps[:3, :3] / steps
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > _SKEW:
        raise ValueError("the axes of the image's affine aren't perpendicular: resample it")
    if dt is None and times is None:
        dt = float(image.header.get_zooms()[3])
    return from_numpy(
        values.transpose(3, 2, 1, 0),
        spacing=(float(steps[2]), float(steps[1]), float(steps[0])),
        dt=dt,
        times=times,
        origin=tuple(lps[:3, 3].tolist()),
        direction=cosines.flatten().tolist(),
    )


def from_sitk(image: Any, *, dt: float | None = None, times: Any = None) -> CTPSeries:
    """A series from a four-dimensional SimpleITK image; its values are [HU].

    Parameters
    ----------
    image
        scalar, time last
    dt, times
        as in `from_numpy`; the fourth spacing when neither is given

    Raises
    ------
    ValueError
        as `from_numpy`
    """
    import SimpleITK

    check_type(image, SimpleITK.Image, "from_sitk: image")
    if image.GetDimension() != 4 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"a series is a scalar image of 4 dimensions, got {image.GetDimension()}")
    spacing, d = image.GetSpacing(), image.GetDirection()
    return from_numpy(
        SimpleITK.GetArrayFromImage(image),
        spacing=(spacing[2], spacing[1], spacing[0]),
        dt=spacing[3] if dt is None and times is None else dt,
        times=times,
        origin=tuple(image.GetOrigin()[:3]),
        direction=[d[4 * row + column] for row in range(3) for column in range(3)],
    )


def to_sitk(source: CTPSeries | PerfusionMaps, quantity: str | None = None) -> Any:
    """As `to_nibabel`, a SimpleITK image in LPS."""
    from ctp_torch.io.nifti.nifti import to_image

    values, geometry, dt = _values(source, quantity)
    return to_image(values, geometry, dt=dt or 1.0)


def to_nibabel(source: CTPSeries | PerfusionMaps, quantity: str | None = None) -> Any:
    """A series (4-D, time last), or one of the maps (3-D), as a nibabel NIfTI-1 image in RAS.

    Parameters
    ----------
    source
        a series, or maps
    quantity
        which map

    Raises
    ------
    ValueError
        if maps are given without a quantity that they hold
    """
    import nibabel

    values, geometry, dt = _values(source, quantity)
    array = values.detach().cpu().numpy()
    image = nibabel.Nifti1Image(array.T, _ras_affine(geometry))
    image.header.set_xyzt_units("mm", "sec")
    if array.ndim == 4 and dt:
        image.header.set_zooms((*geometry.spacing[::-1], dt))
    return image


def to_monai(source: CTPSeries | PerfusionMaps) -> dict[str, Any]:
    """What MONAI's dictionary transforms take: ``MetaTensor`` s with the channel first, in RAS.

    Parameters
    ----------
    source
        a series gives ``image`` ``(time, x, y, z)`` [HU]; maps give each map and ``mask`` ``(1, x, y, z)``

    Raises
    ------
    CTPError
        if MONAI isn't installed
    """
    try:
        from monai.data import MetaTensor
    except ImportError as error:
        raise CTPError("to_monai needs MONAI: pip install monai") from error
    import torch

    check_type(source, (CTPSeries, PerfusionMaps), "to_monai: source")
    affine = torch.from_numpy(_ras_affine(source.geometry))
    return {name: MetaTensor(values, affine=affine) for name, values in _channels(source).items()}


def to_torchio(source: CTPSeries | PerfusionMaps) -> Any:
    """A TorchIO ``Subject``: of a series ``image``, a frame a channel; of maps one image each, and ``mask`` as labels.

    Parameters
    ----------
    source
        a series, or maps

    Raises
    ------
    CTPError
        if TorchIO isn't installed
    """
    try:
        import torchio
    except ImportError as error:
        raise CTPError("to_torchio needs TorchIO: pip install torchio") from error
    check_type(source, (CTPSeries, PerfusionMaps), "to_torchio: source")
    affine = _ras_affine(source.geometry)
    images = {}
    for name, values in _channels(source).items():
        kind = torchio.LabelMap if name == "mask" else torchio.ScalarImage
        images[name] = kind(tensor=values, affine=affine)
    return torchio.Subject(images)


def _channels(source: CTPSeries | PerfusionMaps) -> dict[str, Tensor]:
    """Name to ``(channel, x, y, z)``."""
    if isinstance(source, CTPSeries):
        return {"image": source.hu.permute(0, 3, 2, 1).contiguous()}
    volumes = {**source.values, "mask": source.mask.byte()}
    return {name: volume.permute(2, 1, 0).contiguous()[None] for name, volume in volumes.items()}


def _ras_affine(geometry: Geometry) -> Any:
    """Indices x, y, z to RAS [mm], ``(4, 4)`` float64, as NIfTI has it."""
    import numpy as np

    affine = np.eye(4)
    affine[:3, :3] = np.asarray(geometry.direction).reshape(3, 3) * np.asarray(geometry.spacing[::-1])
    affine[:3, 3] = geometry.origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _values(source: CTPSeries | PerfusionMaps, quantity: str | None) -> tuple[Tensor, Geometry, float]:
    """What is meant: the HU of a series, or one map; with the grid and the time between frames [s]."""
    if isinstance(source, CTPSeries):
        if quantity is not None:
            raise ValueError(f"a series holds HU, no {quantity!r}: make maps of it first")
        return source.hu, source.geometry, source.dt
    if not isinstance(source, PerfusionMaps):
        raise TypeError(f"a CTPSeries or PerfusionMaps is needed, got {type(source).__name__}")
    if quantity is None or quantity not in source:
        raise ValueError(f"say which map: {', '.join(source.values)}; got {quantity!r}")
    return source[quantity], source.geometry, 0.0


def _moments(dt: float | None, times: Any, n_frames: int, n_slices: int) -> Tensor:
    """Times ``(time, z)`` [s] of every slice."""
    import torch

    if (dt is None) == (times is None):
        raise ValueError("give either dt (one number of seconds between frames) or times")
    if dt is not None:
        if not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"dt must be a positive number of seconds, got {dt}")
        moments = torch.arange(n_frames, dtype=torch.float64) * dt
    else:
        moments = torch.as_tensor(times, dtype=torch.float64)
    if moments.ndim == 1:
        moments = moments[:, None].expand(-1, n_slices)
    if tuple(moments.shape) != (n_frames, n_slices):
        raise ValueError(
            f"times must be ({n_frames},) or ({n_frames}, {n_slices}) for these frames and slices, got "
            f"{tuple(torch.as_tensor(times).shape)}"
        )
    return moments.contiguous()
