"""Which images belong together: attributes lost or changed in some, identifiers drawn anew, flavours, two patients."""

import numpy as np
from pydicom.uid import generate_uid

from ctp_torch.errors import IncompleteSeriesError, NoSeriesError, UnreadableFileError
from oracles.foreign.case import Reads, Refuses, as_told, case
from oracles.scans import Scan, enhanced, save


def _without(scan, frame):
    """What is left without a frame in the middle."""
    keep = [t for t in range(scan.n_frames) if t != frame]
    return scan.hu[keep], scan.times[keep]


@case
def kernel_lost_in_one_frame(folder):
    """The kernel's name is missing in one frame."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: delattr(d, "ConvolutionKernel") if t == 3 else None).save(folder)
    return as_told(scan)


@case
def grid_lost_in_one_frame(folder):
    """One frame tells no orientation, another no spacing; all others of the series agree."""
    scan = Scan(n_frames=7)

    def change(d, t, z):
        if t in (2, 4):
            delattr(d, "ImageOrientationPatient" if t == 2 else "PixelSpacing")

    scan.each(change).save(folder)
    return as_told(scan, says="(?s)4 images tell no orientation.*4 images tell no pixel spacing")


@case
def voltage_lost_in_every_second_image(folder):
    """The tube voltage is missing in half of the images, and 0 in some others."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "KVP", ("80", "", "0")[(t + z) % 3])).save(folder)
    return as_told(scan)


@case
def thickness_rounded_otherwise(folder):
    """Thickness 5.05, 4.98 and none for 5."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "SliceThickness", ("5", "5.05", "4.98", "")[t % 4])).save(folder)
    return as_told(scan)


@case
def one_frame_of_another_voltage(folder):
    """One frame in the middle was taken at 120 kV: it isn't the same measurement, and its loss is said."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "KVP", "120") if t == 2 else None).save(folder)
    return Reads(*_without(scan, 2), says="(?s)time point.*3.00 s.*tube voltage.*120")


@case
def one_frame_of_another_matrix(folder):
    """One frame in the middle was reconstructed on another matrix."""
    scan = Scan(n_frames=6)
    other = Scan(n_frames=6, rows=12, columns=14, spacing=(0.25, 0.2), series=scan.series)
    for z in range(4):
        scan.images[4, z] = other.images[4, z]
    scan.save(folder)
    return Reads(*_without(scan, 4), says="(?s)time point.*6.00 s.*matrix")


@case
def one_frame_derived(folder):
    """One frame in the middle is called derived."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "AXIAL"]) if t == 3 else None)
    scan.save(folder)
    return Reads(*_without(scan, 3), says="(?s)time point.*4.50 s.*derived")


@case
def frame_of_reference_in_every_file(folder):
    """The frame of reference was drawn anew for every file."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "FrameOfReferenceUID", generate_uid())).save(folder)
    return as_told(scan, says="(?i)frames? of reference")


@case
def everything_drawn_anew_by_frame(folder):
    """Study, series and frame of reference were drawn anew for every frame."""
    scan = Scan(n_frames=6)
    uids = [[generate_uid() for _ in range(3)] for _ in range(6)]

    def change(d, t, z):
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = uids[t]

    scan.each(change).save(folder)
    return as_told(scan, says="(?i)stud(y|ies)")


@case
def study_in_every_file_without_a_clock(folder):
    """The same for the study, and no clock: nothing proves one scan; the refusal is short and names the way."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "StudyInstanceUID", generate_uid()))
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder)
    return Refuses(IncompleteSeriesError, r"^(?=.{0,900}$).*--join study")


@case
def joined_on_request(folder):
    """The same, asked for."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "StudyInstanceUID", generate_uid()))
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder)
    return as_told(scan, options={"join": "study", "dt": 1.5}, says="(?i)stud(y|ies)")


@case
def two_scans_of_two_days(folder):
    """Two whole series of one patient, a day apart, in two studies: they are two."""
    one, other = Scan(), Scan(seed=1, number=5)
    other.set_times(other.times, day="20260106")
    other.each(lambda d, t, z: setattr(d, "StudyInstanceUID", "1.2.9"))
    one.save(folder)
    other.save(folder)
    return Refuses(IncompleteSeriesError, r"2 series could be meant")


@case
def series_cut_in_two(folder):
    """An archive cut the series in two after the fourth frame."""
    scan = Scan(n_frames=9)
    scan.each(lambda d, t, z: setattr(d, "SeriesInstanceUID", f"1.2.3.{1 + (t > 3)}")).save(folder)
    return as_told(scan, says="joined")


@case
def plain_and_late_volumes(folder):
    """A plain head, one 5 minutes and one 12 minutes later, one series each."""
    for k, start in enumerate((0.0, 300.0, 720.0)):
        scan = Scan(n_frames=1, seed=k, number=k + 2)
        scan.set_times(scan.times + start)
        scan.save(folder)
    return Refuses(IncompleteSeriesError, r"no perfusion series.*single volumes?")


@case
def flavour_of_a_multi_frame_object(folder):
    """An original multi-frame object of flavour PERFUSION."""
    folder.mkdir()
    scan = Scan()
    multi = enhanced(scan)
    multi.ImageType = ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"]
    save(multi, folder / "multi.dcm")
    return as_told(scan)


@case
def flavour_and_a_makers_word(folder):
    """Original images whose third and fourth values are words of perfusion, without a map's name."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "PERFUSION", "VOLUME"])).save(folder)
    return as_told(scan)


@case
def a_map_that_calls_itself_original(folder):
    """The fourth value names a map's quantity."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "PERFUSION", "RCBF"])).save(folder)
    return Refuses(NoSeriesError, r"perfusion map")


@case
def two_names_without_an_id(folder):
    """Patient ID is empty, and every second volume is another person's."""
    scan = Scan(n_frames=6)

    def change(d, t, z):
        d.PatientID, d.PatientName = "", ("Secret^Person", "Other^Secret")[t % 2]

    scan.each(change).save(folder)
    return Refuses(IncompleteSeriesError, r"2 series could be meant.*patients")


@case
def two_birth_dates_without_an_id(folder):
    """The same name, two birth dates."""
    scan = Scan(n_frames=6)

    def change(d, t, z):
        d.PatientID, d.PatientBirthDate = "", ("19010203", "19330405")[t > 2]

    scan.each(change).save(folder)
    return Refuses(IncompleteSeriesError, r"2 series could be meant.*patients")


@case
def one_name_in_two_spellings(folder):
    """No ID; the name in capitals and with other separators in some files."""
    scan = Scan(n_frames=6)
    scan.each(
        lambda d, t, z: (
            setattr(d, "PatientID", ""),
            setattr(d, "PatientName", ("Secret^Person", "SECRET PERSON ")[t % 2]),
        )
    )
    scan.save(folder)
    return as_told(scan)


@case
def axes_askew(folder):
    """Rows and columns meet at 60 degrees."""
    scan = Scan()
    askew = [1, 0, 0, round(float(np.cos(np.pi / 3)), 6), round(float(np.sin(np.pi / 3)), 6), 0]
    scan.each(lambda d, t, z: setattr(d, "ImageOrientationPatient", askew)).save(folder)
    return Refuses(UnreadableFileError, r"impossible orientation")


@case
def axes_slightly_askew(folder):
    """Rows and columns meet at 88 degrees: no scanner, no rounding."""
    scan = Scan()
    askew = [1, 0, 0, round(float(np.cos(np.radians(88))), 6), round(float(np.sin(np.radians(88))), 6), 0]
    scan.each(lambda d, t, z: setattr(d, "ImageOrientationPatient", askew)).save(folder)
    return Refuses(UnreadableFileError, r"impossible orientation")


@case
def directions_too_short(folder):
    """Direction cosines of length 0.98."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "ImageOrientationPatient", [0.98, 0, 0, 0, 0.98, 0])).save(folder)
    return Refuses(UnreadableFileError, r"impossible orientation")


@case
def spacing_in_centimetres(folder):
    """A head of 2 cm."""
    scan = Scan(rows=128, columns=128, n_frames=4, n_slices=2, spacing=(0.016, 0.016))
    scan.save(folder)
    return Refuses(UnreadableFileError, r"impossible pixel spacing")


@case
def spacing_of_a_giant(folder):
    """A head of 2 m."""
    scan = Scan(rows=128, columns=128, n_frames=4, n_slices=2, spacing=(16.0, 16.0))
    scan.save(folder)
    return Refuses(UnreadableFileError, r"impossible pixel spacing")
