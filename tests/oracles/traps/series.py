"""Several series in a folder, and things that are none."""

import numpy as np

from ctp_torch.errors import IncompleteSeriesError, NoSeriesError
from oracles.scans import Scan, moment, part, save
from oracles.traps.trap import Reads, Refuses, as_told, trap


@trap
def two_kernels_in_one_series(folder):
    """Soft and sharp reconstructions share a Series Instance UID."""
    soft, sharp = Scan(), Scan(seed=1)
    sharp.each(lambda d, t, z: (setattr(d, "SeriesInstanceUID", soft.series), setattr(d, "ConvolutionKernel", "H60s")))
    soft.save(folder / "a")
    sharp.save(folder / "b")
    return Refuses(IncompleteSeriesError, r"2 series could be meant.*kernel H31s.*kernel H60s")


@trap
def one_of_two_kernels(folder):
    """The same, and the user chooses."""
    soft, sharp = Scan(), Scan(seed=1)
    sharp.each(lambda d, t, z: (setattr(d, "SeriesInstanceUID", soft.series), setattr(d, "ConvolutionKernel", "H60s")))
    soft.save(folder / "a")
    sharp.save(folder / "b")
    return as_told(sharp, options={"series": soft.series + "#2"}, says="another series")


@trap
def two_thicknesses(folder):
    """Thin and thick reconstructions as two series; the user names one."""
    thick, thin = Scan(), Scan(seed=1, number=5)
    thin.each(lambda d, t, z: setattr(d, "SliceThickness", "1.5"))
    thick.save(folder)
    thin.save(folder)
    return as_told(thin, options={"series": thin.series}, says="another series")


@trap
def voltage_changes(folder):
    """A second acquisition at another tube voltage with the same grid: two series."""
    low, high = Scan(), Scan(seed=1)
    high.set_times(high.times + 60)
    high.each(lambda d, t, z: (setattr(d, "KVP", "120"), setattr(d, "SeriesInstanceUID", low.series)))
    low.save(folder / "a")
    high.save(folder / "b")
    return Refuses(IncompleteSeriesError, r"2 series could be meant.*80 kV.*120 kV")


@trap
def series_for_every_time(folder):
    """Each time point is a series of its own."""
    scan = Scan()
    scan.each(lambda d, t, z: (setattr(d, "SeriesInstanceUID", f"1.2.3.{t + 1}"), setattr(d, "SeriesNumber", t + 10)))
    scan.save(folder)
    return as_told(scan, says="5 series of one time point each were joined")


@trap
def series_time_alone(folder):
    """Each time point is a series, and Series Time is the only clock."""
    scan = Scan()

    def change(d, t, z):
        d.SeriesInstanceUID, d.SeriesDate, d.SeriesTime = (
            f"1.2.3.{t + 1}",
            *moment(36000 + scan.times[t, z], "20260105"),
        )

    scan.each(change).drop("AcquisitionTime", "ContentTime", "AcquisitionDate").save(folder)
    return as_told(scan, source="SeriesTime")


@trap
def two_slabs_side_by_side(folder):
    """The table toggles between two slabs that touch; each has its own times."""
    scan = Scan()
    scan.set_times(scan.times + np.where(np.arange(4) < 2, 0.0, 0.7))
    scan.save(folder)
    return as_told(scan)


@trap
def two_slabs_as_two_series(folder):
    """The same, one series a slab."""
    scan = Scan()
    scan.set_times(scan.times + np.where(np.arange(4) < 2, 0.0, 0.7))
    scan.each(lambda d, t, z: setattr(d, "SeriesInstanceUID", f"1.2.3.{1 + (z > 1)}")).save(folder)
    return as_told(scan, says="joined as slabs")


@trap
def slabs_with_a_gap(folder):
    """Two slabs 40 mm apart: no grid holds both."""
    scan = Scan(n_slices=8)
    scan.each(lambda d, t, z: d.ImagePositionPatient.__setitem__(2, 30.0 + 5 * z + (40 if z > 3 else 0))).save(folder)
    return Refuses(IncompleteSeriesError, r"2 series could be meant.*#1.*30.0 to 45.0 mm.*#2.*90.0 to 105.0 mm")


@trap
def one_of_two_slabs(folder):
    """The same, and the user chooses the upper one."""
    scan = Scan(n_slices=8)
    scan.each(lambda d, t, z: d.ImagePositionPatient.__setitem__(2, 30.0 + 5 * z + (40 if z > 3 else 0))).save(folder)
    return Reads(
        scan.hu[:, 4:], scan.times[:, 4:], (-100, -80, 90.0), options={"series": scan.series + "#2"}, says="slab"
    )


@trap
def whole_slice_lost(folder):
    """One slice is missing at all times: a hole, not a wider spacing."""
    scan = Scan(n_slices=6)
    for t in range(5):
        del scan.images[t, 2]
    scan.save(folder)
    return Refuses(IncompleteSeriesError, r"slabs with a gap")


@trap
def localizer_inside(folder):
    """A scout image with the same Series Instance UID."""
    scan = Scan()
    scan.save(folder)
    scout = Scan(seed=5, n_frames=1, n_slices=1).images[0, 0]
    scout.SeriesInstanceUID, scout.ImageType = scan.series, ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    save(scout, folder / "scout.dcm")
    return as_told(scan, says="localizer")


@trap
def maps_inside(folder):
    """The console's derived maps lie among the source images."""
    scan = Scan()
    scan.save(folder)
    maps = Scan(seed=5, n_frames=1, number=90)
    maps.each(lambda d, t, z: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "AXIAL", "CBF"])).save(folder)
    return as_told(scan, says="derived image")


@trap
def only_derived(folder):
    """Nothing but averaged images."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "AXIAL", "AVERAGE"])).save(folder)
    return Refuses(NoSeriesError, r"20 x derived image .*--series UID")


@trap
def derived_on_request(folder):
    """The same, asked for by name."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "AXIAL", "AVERAGE"])).save(folder)
    return as_told(scan, options={"series": scan.series})


@trap
def volumes_beside(folder):
    """A plain head CT and an angiography lie in the same study."""
    scan = Scan()
    scan.save(folder)
    Scan(seed=2, n_frames=1, number=2, n_slices=9).each(lambda d, t, z: setattr(d, "ConvolutionKernel", "J40")).save(
        folder
    )
    Scan(seed=3, n_frames=1, number=7, step=1.0).each(lambda d, t, z: setattr(d, "SliceThickness", "1")).save(folder)
    return as_told(scan, says="another series")


@trap
def two_patients(folder):
    """One volume each of two people in one folder: no series of two time points."""
    one, other = Scan(n_frames=1), Scan(n_frames=1, seed=1, number=5)
    other.set_times(other.times + 30)
    other.each(lambda d, t, z: (setattr(d, "PatientID", "OTHER"), setattr(d, "StudyInstanceUID", "1.2.9")))
    one.save(folder)
    other.save(folder)
    return Refuses(IncompleteSeriesError, r"2 series could be meant")


@trap
def other_objects(folder):
    """A dose picture, a report, text and an empty file beside the images."""
    scan = Scan()
    scan.save(folder)
    picture = Scan(n_frames=1, n_slices=1).images[0, 0]
    picture.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    save(picture, folder / "dose.dcm")
    report = part(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", SOPInstanceUID="1.2.3", Modality="SR", PatientID="SECRET42"
    )
    save(report, folder / "sr.dcm")
    (folder / "notes.txt").write_text("hello " * 60)
    (folder / "Thumbs.db").write_bytes(b"")
    return as_told(scan, says="no CT image")
