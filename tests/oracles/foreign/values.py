"""What stored values mean: numbers in foreign writing, bits told wrongly, other scales, frames out of place."""

import numpy as np

from ctp_torch.errors import NoSeriesError, UnreadableFileError
from oracles.foreign.case import Reads, Refuses, as_told, case
from oracles.foreign.times import text
from oracles.scans import Scan


def _head(scan, *, bolus=True, shift=0.0):
    """A head in place of noise: air, bone, brain that enhances; the HU as stored whole numbers."""
    y, x = np.mgrid[-1 : 1 : scan.rows * 1j, -1 : 1 : scan.columns * 1j]
    r = np.hypot(y / 0.85, (x - shift) / 0.7)
    rng = np.random.default_rng(scan.seed + 50)
    for t in range(scan.n_frames):
        rise = 8 * np.exp(-(((t - 0.45 * scan.n_frames) / (0.15 * scan.n_frames)) ** 2)) if bolus else 0
        for z in range(scan.n_slices):
            hu = np.where(r > 1, -1000.0, np.where(r > 0.88, 900.0, 35.0 + rise + 2 * z))
            hu = hu + np.where(r > 1, 0, rng.normal(0, 4, hu.shape))
            scan.stored[t, z] = np.clip(np.round(hu) + 1024, 0, 4095)
    return scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z]))


def head(**options):
    """A series of a head."""
    return _head(Scan(**{"rows": 48, "columns": 48, "n_frames": 16, "n_slices": 2, **options}))


@case
def decimal_commas(folder):
    """Rescale and spacing with commas for points."""
    scan = Scan()

    def change(d, t, z):
        text(d, 0x00281052, "DS", "-1024,0")
        text(d, 0x00281053, "DS", "1,0")
        text(d, 0x00280030, "DS", "0,5\\0,4")

    scan.each(change).save(folder)
    return as_told(scan)


@case
def commas_between(folder):
    """Commas for backslashes in spacing, position and orientation."""
    scan = Scan()

    def change(d, t, z):
        text(d, 0x00280030, "DS", "0.5,0.4")
        text(d, 0x00200032, "DS", f"-100.0,-80.0,{30 + 5 * z}")
        text(d, 0x00200037, "DS", "1,0,0,0,1,0")

    scan.each(change).save(folder)
    return as_told(scan)


@case
def unknown_representation_of_positions(folder):
    """Positions and rescale under UN and LT."""
    scan = Scan()

    def change(d, t, z):
        text(d, 0x00200032, "UN", f"-100\\-80\\{30 + 5 * z}")
        text(d, 0x00281052, "LT", "-1024")

    scan.each(change).save(folder)
    return as_told(scan)


@case
def spacing_in_words(folder):
    """A spacing that is none is shown."""
    scan = Scan()
    scan.each(lambda d, t, z: text(d, 0x00280030, "DS", "0.5mm\\0.4mm")).save(folder)
    return Refuses(UnreadableFileError, r"pixel spacing.*0.5mm")


@case
def one_number_for_two(folder):
    """A spacing of one number with a comma: half a millimetre, or 0 and 5? Not guessed."""
    scan = Scan()
    scan.each(lambda d, t, z: text(d, 0x00280030, "DS", "0,5")).save(folder)
    return Refuses(UnreadableFileError, r"pixel spacing.*0,5")


@case
def slope_in_words(folder):
    """A slope that is none is shown, not taken for 1."""
    scan = Scan()
    scan.each(lambda d, t, z: text(d, 0x00281053, "DS", "unity")).save(folder)
    return Refuses(UnreadableFileError, r"rescale.*unity")


@case
def two_slopes(folder):
    """Two different values of the slope."""
    scan = Scan()
    scan.each(lambda d, t, z: text(d, 0x00281053, "DS", "1\\2")).save(folder)
    return Refuses(UnreadableFileError, r"rescale.*1\\2")


@case
def the_same_slope_twice(folder):
    """Two values that agree."""
    scan = Scan()
    scan.each(lambda d, t, z: text(d, 0x00281053, "DS", "1\\1.0")).save(folder)
    return as_told(scan)


@case
def slope_below_nothing(folder):
    """A negative slope puts everything below air."""
    scan = head()
    scan.each(lambda d, t, z: setattr(d, "RescaleSlope", "-1")).save(folder)
    return Refuses(UnreadableFileError, r"HU.*rescale")


@case
def slope_below_nothing_meant_so(folder):
    """Inverted pixels, whose slope turns them round again."""
    scan = head()

    def change(d, t, z):
        d.RescaleSlope, d.RescaleIntercept = "-1", "3000"
        scan.put(d, 3000 - (scan.stored[t, z] - 1024))

    scan.each(change).save(folder)
    return as_told(scan, says="negative")


@case
def slope_of_a_thousandth(folder):
    """Slopes of 0.001 make everything air."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "RescaleSlope", "0.001")).save(folder)
    return Refuses(UnreadableFileError, "nothing but air")


@case
def fat_in_per_cent(folder):
    """A share, no CT number."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "RescaleType", "%")).save(folder)
    return Refuses(NoSeriesError, "no CT numbers")


@case
def half_of_every_value(folder):
    """Slopes of a half: a head of which nothing is brain."""
    scan = Scan()
    scan.stored = np.where(np.arange(scan.rows)[:, None] < 3, 20, 1060 + scan.stored % 30)
    scan.each(lambda d, t, z: [scan.put(d, scan.stored[t, z]), setattr(d, "RescaleSlope", "0.5")]).save(folder)
    return Reads(scan.stored * 0.5 - 1024, scan.times, says="hardly any value")


@case
def slope_of_thousands(folder):
    """HU of millions."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "RescaleSlope", "5000")).save(folder)
    return Refuses(UnreadableFileError, r"impossible rescale")


@case
def twelve_bits_told_high(folder):
    """12 bits stored, High Bit 15, and values that were never shifted."""
    scan = Scan()
    scan.each(lambda d, t, z: (setattr(d, "BitsStored", 12), setattr(d, "HighBit", 15))).save(folder)
    return as_told(scan, says="High Bit")


@case
def twelve_bits_shifted(folder):
    """12 bits stored in the upper bits, as High Bit tells: nothing to say."""
    scan = Scan()

    def change(d, t, z):
        d.BitsStored, d.HighBit = 12, 15
        scan.put(d, scan.stored[t, z] << 4)

    scan.each(change).save(folder)
    return as_told(scan)


@case
def twelve_bits_told_high_and_signed(folder):
    """The same as the first, signed."""
    scan = Scan()

    def change(d, t, z):
        d.BitsStored, d.HighBit, d.PixelRepresentation, d.RescaleIntercept = 12, 15, 1, "-24"
        scan.put(d, scan.stored[t, z] - 1000)

    scan.each(change).save(folder)
    return as_told(scan, says="High Bit")


@case
def high_bit_too_low(folder):
    """12 bits stored, High Bit 10."""
    scan = Scan()
    scan.each(lambda d, t, z: (setattr(d, "BitsStored", 12), setattr(d, "HighBit", 10))).save(folder)
    return as_told(scan, says="High Bit")


@case
def ten_bits_told_of_twelve(folder):
    """Bits Stored is told as 10 and the values run over; noise, so that smoothness doesn't tell."""
    scan = Scan()
    scan.each(lambda d, t, z: (setattr(d, "BitsStored", 11), setattr(d, "HighBit", 10))).save(folder)
    return as_told(scan, says="Bits Stored")


@case
def twelve_bits_told_of_a_head(folder):
    """Bits Stored is told as 10 in images of a head, whose bone needs 11."""
    scan = head()
    scan.each(lambda d, t, z: (setattr(d, "BitsStored", 10), setattr(d, "HighBit", 9))).save(folder)
    return as_told(scan, says="Bits Stored")


@case
def pixels_of_metres(folder):
    """A spacing of 50 mm."""
    scan = Scan(spacing=(50.0, 40.0))
    scan.save(folder)
    return Refuses(UnreadableFileError, r"impossible pixel spacing")


@case
def slices_far_apart(folder):
    """Slices of 5 mm lie 15 mm apart."""
    scan = Scan(step=15.0)
    scan.save(folder)
    return as_told(scan, spacing=(15.0, 0.5, 0.4), says="15 mm apart")


@case
def signed_values_told_unsigned(folder):
    """HU in two's complement, and a header that says unsigned: air of 64,536 HU."""
    scan = head()

    def change(d, t, z):
        d.RescaleIntercept = "0"
        d.PixelData = (scan.stored[t, z] - 1024).astype("<i2").tobytes()

    scan.each(change).save(folder)
    return as_told(scan, says="signed")


@case
def twelve_unsigned_bits_told_signed(folder):
    """Bone above 2047 becomes less than nothing when 12 bits are taken for signed ones."""
    scan = head()
    scan.stored = np.where(scan.stored > 1500, 2600 + scan.stored % 64, scan.stored)

    def change(d, t, z):
        d.BitsStored, d.HighBit, d.PixelRepresentation = 12, 11, 1
        d.PixelData = scan.stored[t, z].astype("<u2").tobytes()

    scan.each(change).save(folder)
    return as_told(scan, says="signed")


@case
def hounsfield_units_by_any_name(folder):
    """Rescale Type in small letters, unspecified or missing."""
    scan = Scan(n_frames=6)
    scan.each(lambda d, t, z: setattr(d, "RescaleType", ("hu", "US", "", "Hounsfield Units", "HU ", "H.U.")[t])).save(
        folder
    )
    return as_told(scan)


def _scale(name):
    def make(folder):
        scan = Scan()
        scan.each(lambda d, t, z: setattr(d, "RescaleType", name)).save(folder)
        return Refuses(NoSeriesError, rf"no CT numbers.*{name}")

    make.__name__ = f"scale_of_{name.lower()}"
    make.__doc__ = f"Rescale Type {name}."
    make.__module__ = __name__
    return case(make)


iodine, effective_number, electron_density, modified = map(_scale, ("MGML", "Z_EFF", "ED", "HU_MOD"))


@case
def monoenergetic_by_its_type(folder):
    """Images at a virtual energy by the fourth value of Image Type."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "AXIAL", "VMI"])).save(folder)
    return Refuses(NoSeriesError, r"no CT numbers.*VMI")


@case
def offset_in_bulk(folder):
    """Intercept -8192 over values that begin at 0: air and head below -7000 HU."""
    scan = head()
    scan.each(lambda d, t, z: setattr(d, "RescaleIntercept", "-8192")).save(folder)
    return Refuses(UnreadableFileError, r"HU.*(RescaleIntercept|rescale)")


@case
def rescale_lost(folder):
    """No slope and intercept, unsigned values whose air is 24: 1,024 too high, and said."""
    scan = head()
    scan.drop("RescaleSlope", "RescaleIntercept", "RescaleType").save(folder)
    return Reads(scan.stored.astype("float32"), scan.times, says="1,?024")


@case
def frames_swapped(folder):
    """Two frames on the rise of the bolus have changed places, pixels only."""
    scan = head(n_frames=24)
    scan.stored[[9, 12]] = scan.stored[[12, 9]]
    scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z])).save(folder)
    return as_told(scan, says="time points 9 and 12")


@case
def neighbours_swapped(folder):
    """Two neighbours on the rise have changed places."""
    scan = head(n_frames=24)
    scan.stored[[8, 9]] = scan.stored[[9, 8]]
    scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z])).save(folder)
    return as_told(scan, says="time points 8 and 9")


@case
def frame_repeated(folder):
    """A frame came twice, under two times."""
    scan = head()
    scan.stored[7] = scan.stored[6]
    scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z])).save(folder)
    return as_told(scan, says="(?i)time points? 7.*same.*6|6 and 7")


@case
def one_image_repeated(folder):
    """One slice shows an image of another time again."""
    scan = head()
    scan.stored[11, 1] = scan.stored[3, 1]
    scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z])).save(folder)
    return as_told(scan, says="(?i)slice 1.*11.*3|3 and 11")


@case
def frame_of_another_head(folder):
    """One frame shows another head."""
    scan = head()
    other = _head(Scan(rows=48, columns=48, n_frames=16, n_slices=2, seed=7), shift=0.25)
    scan.stored[5] = other.stored[5]
    scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z])).save(folder)
    return as_told(scan, says="time point 5")
