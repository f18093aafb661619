"""Stored values to HU."""

import numpy as np
from pydicom.encaps import encapsulate

from ctp_torch.errors import UnreadableFileError
from oracles.scans import Scan
from oracles.traps.trap import Reads, Refuses, as_told, trap, within


@trap
def intercepts_differ(folder):
    """Every image has a slope and an intercept of its own."""
    scan = Scan()

    def change(d, t, z):
        d.RescaleSlope, d.RescaleIntercept = ["1", "0.5", "2"][(t + z) % 3], ["-1024", "0", "-8192"][(t + 2 * z) % 3]

    scan.each(change).save(folder)
    slope = np.array([[float(scan.images[t, z].RescaleSlope) for z in range(4)] for t in range(5)])
    intercept = np.array([[float(scan.images[t, z].RescaleIntercept) for z in range(4)] for t in range(5)])
    hu = scan.stored * slope[..., None, None] + intercept[..., None, None]
    return Reads(hu, scan.times, says="slope and intercept differ")


@trap
def signed_and_unsigned(folder):
    """Half of the images are signed with intercept 0, half unsigned with -1024."""
    scan = Scan()

    def change(d, t, z):
        if (t + z) % 2:
            d.PixelRepresentation, d.RescaleIntercept = 1, "0"
            scan.put(d, scan.stored[t, z] - 1024)

    scan.stored[:, :, 0] = 100  # below zero HU
    scan.each(lambda d, t, z: scan.put(d, scan.stored[t, z])).each(change).save(folder)
    return as_told(scan, says="signed and unsigned")


@trap
def padding(folder):
    """The corners outside the measured circle hold a padding value."""
    scan = Scan()

    def change(d, t, z):
        d.PixelRepresentation, d.RescaleIntercept = 1, "0"
        stored = scan.stored[t, z] - 1024
        stored[0, 0] = stored[-1, -1] = -2000
        scan.put(d, stored)
        d.add_new(0x00280120, "SS", -2000)

    hu = scan.hu
    hu[..., 0, 0] = hu[..., -1, -1] = -1024
    scan.each(change).save(folder)
    return Reads(hu, scan.times, says="padding")


@trap
def padding_range_and_wrong_sign(folder):
    """A range of padding values, written unsigned in signed images."""
    scan = Scan()

    def change(d, t, z):
        d.PixelRepresentation, d.RescaleIntercept = 1, "0"
        stored = scan.stored[t, z] - 1024
        stored[0, 0], stored[0, 1], stored[0, 2] = -2000, -1990, -1989
        scan.put(d, stored)
        d.add_new(0x00280120, "US", 65536 - 2000)
        d.add_new(0x00280121, "US", 65536 - 1990)

    hu = scan.hu
    hu[..., 0, 0], hu[..., 0, 1], hu[..., 0, 2] = -1024, -1024, -1989
    scan.each(change).save(folder)
    return Reads(hu, scan.times)


@trap
def overlay_bits(folder):
    """12 bits stored of 16, signed, with an overlay in the bits above."""
    scan = Scan()

    def change(d, t, z):
        d.BitsStored, d.HighBit, d.PixelRepresentation, d.RescaleIntercept = 12, 11, 1, "-24"
        stored = (scan.stored[t, z] - 1000) & 0x0FFF
        stored[::2] |= 0x1000
        d.PixelData = stored.astype("<u2").tobytes()

    scan.each(change).save(folder)
    return as_told(scan)


@trap
def one_image_truncated(folder):
    """A file ends within its pixels."""
    scan = Scan()
    path = scan.save(folder)[3, 1]
    path.write_bytes(path.read_bytes()[:-30])
    return Refuses(UnreadableFileError, rf"{path.name} is truncated.*copy it again")


@trap
def one_header_truncated(folder):
    """A file ends within its header."""
    scan = Scan()
    path = scan.save(folder)[3, 1]
    path.write_bytes(path.read_bytes()[:700])
    return Refuses(UnreadableFileError, rf"{path.name}")


@trap
def implicit_without_preamble(folder):
    """Bare data sets, implicit VR, no meta header."""
    scan = Scan()
    for k, d in enumerate(scan.images.values()):
        d.save_as(within(folder, f"{k}"), implicit_vr=True, little_endian=True)
    return as_told(scan)


@trap
def big_endian(folder):
    """Explicit VR, big endian."""
    scan = Scan()

    def change(d, t, z):
        d.PixelData = scan.stored[t, z].astype(">u2").tobytes()

    scan.each(change).save(folder, syntax="1.2.840.10008.1.2.2")
    return as_told(scan)


@trap
def deflated(folder):
    """The whole data set is compressed."""
    scan = Scan()
    scan.save(folder, syntax="1.2.840.10008.1.2.1.99")
    return as_told(scan)


@trap
def run_length_encoded(folder):
    """RLE Lossless."""
    scan = Scan()
    paths = scan.save(folder)
    for key, d in scan.images.items():
        d.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
        d.save_as(paths[key])
    return as_told(scan)


@trap
def unknown_transfer_syntax(folder):
    """Pixels in a syntax that nobody decodes (MPEG-2)."""
    scan = Scan()
    path = scan.save(folder)[0, 0]
    d = scan.images[0, 0]
    d.PixelData = encapsulate([b"\0" * 64])
    d["PixelData"].VR, d["PixelData"].is_undefined_length = "OB", True
    d.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    d.save_as(path)
    return Refuses(UnreadableFileError, r"no decoder for its transfer syntax MPEG2.*1.2.840.10008.1.2.4.100")
