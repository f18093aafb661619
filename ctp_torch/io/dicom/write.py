"""A CT perfusion series as classic CT Image Storage: one file for every slice and frame, as a scanner hands it over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.io.atomic import whole
from ctp_torch.io.dicom.bytes import HeaderTemplate
from ctp_torch.io.dicom.header import StudyHeader, da, ds, plane_elements, study_elements, tm

if TYPE_CHECKING:
    from pydicom import Dataset

    from ctp_torch.data.series import CTPSeries

__all__ = ["CT_IMAGE_STORAGE", "write_ct_series"]

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def write_ct_series(
    series: CTPSeries,
    folder: str | Path,
    *,
    header: StudyHeader | None = None,
    slope: float = 1.0,
    intercept: float = -1024.0,
    signed: bool = False,
    force: bool = False,
) -> list[Path]:
    """The files of a series written as CT images, in the order of acquisition.

    Stored values are round((HU - intercept) / slope) in 16 bits, clipped to what those hold. The same series and header
    give the same bytes.

    Parameters
    ----------
    series
        ``(time, z, y, x)`` HU; its times are added to the header's start
    folder
        where the files go; it appears when all of them are written
    header
        patient, study and equipment
    slope, intercept
        rescale: HU = stored * slope + intercept
    signed
        two's complement instead of unsigned pixels
    force
        replace a folder that is not empty

    Returns
    -------
    list
        the files, frame by frame and slice by slice

    Raises
    ------
    OutputExistsError
        when the folder holds something already
    ValueError
        when the slope is 0
    """
    if slope == 0:
        raise ValueError("slope must not be 0: every pixel would be the intercept")
    header = header or StudyHeader()
    template = HeaderTemplate(_constant_elements(series, header, slope, intercept, signed))
    low, high, kind = (-32768, 32767, "<i2") if signed else (0, 65535, "<u2")
    names = []
    with whole(folder, force=force) as partial:
        partial.mkdir()
        for frame in range(series.n_frames):
            stored = ((series.hu[frame].double() - intercept) / slope).round().clamp(low, high)
            pixels = stored.cpu().numpy().astype(kind)  # (z, y, x)
            for z in range(series.geometry.shape[0]):
                number = frame * series.geometry.shape[0] + z + 1
                changing = _changing_elements(series, header, frame, z, number)
                uid = header.uid("series", header.series_number, "image", number)
                name = f"IM{number:05d}.dcm"
                (partial / name).write_bytes(template.file(uid, changing, pixels[z].tobytes(), pixel_vr="OW"))
                names.append(name)
    return [Path(folder) / name for name in names]


def _constant_elements(series: CTPSeries, header: StudyHeader, slope: float, intercept: float, signed: bool) -> Dataset:
    """What all images of the series say."""
    elements = study_elements(header)
    elements.update(plane_elements(series.geometry))
    elements.SOPClassUID = CT_IMAGE_STORAGE
    elements.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    elements.Modality = "CT"
    elements.SeriesInstanceUID = header.uid("series", header.series_number)
    elements.SeriesNumber = header.series_number
    elements.SeriesDescription = header.description
    elements.SeriesDate, elements.SeriesTime = da(header.started), tm(header.started)
    elements.ContrastBolusAgent = "Iodine"
    elements.KVP = ds(header.kvp)
    elements.XRayTubeCurrent = round(header.tube_current_ma)
    elements.ExposureTime = round(header.exposure_ms)
    elements.ConvolutionKernel = header.kernel
    elements.ReconstructionDiameter = ds(series.geometry.spacing[2] * series.geometry.shape[2])
    elements.SamplesPerPixel = 1
    elements.PhotometricInterpretation = "MONOCHROME2"
    elements.BitsAllocated, elements.BitsStored, elements.HighBit = 16, 16, 15
    elements.PixelRepresentation = int(signed)
    elements.RescaleSlope, elements.RescaleIntercept, elements.RescaleType = ds(slope), ds(intercept), "HU"
    elements.WindowCenter, elements.WindowWidth = "40", "80"
    return elements


def _changing_elements(
    series: CTPSeries, header: StudyHeader, frame: int, z: int, number: int
) -> dict[int, tuple[str, str]]:
    """What one image says of its moment and place."""
    moment = header.started + timedelta(seconds=float(series.times[frame, z]))
    position = series.geometry.position(z, 0, 0)
    d = series.geometry.direction
    along_normal = sum(p * n for p, n in zip(position, (d[2], d[5], d[8]), strict=True))
    return {
        0x00080022: ("DA", da(moment)),
        0x00080023: ("DA", da(moment)),
        0x0008002A: ("DT", da(moment) + tm(moment)),
        0x00080032: ("TM", tm(moment)),
        0x00080033: ("TM", tm(moment)),
        0x00200012: ("IS", str(frame + 1)),
        0x00200013: ("IS", str(number)),
        0x00200032: ("DS", "\\".join(ds(p) for p in position)),
        0x00201041: ("DS", ds(along_normal)),
    }
