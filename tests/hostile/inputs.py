"""Hostile inputs, each with the outcome wanted: the scan as it was made, the scan with a warning, or a refusal."""

import gzip
import json
import os
import socket
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from oracles.scans import Scan, enhanced, save
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

READS, WARNS, REFUSES = "reads", "warns", "refuses"
N_FRAMES, N_SLICES = 5, 2


@dataclass
class Hostile:
    """One input."""

    make: Callable
    """Writes it into an empty folder; gives what is handed to the reader, where that isn't the folder."""
    wanted: tuple
    """Outcomes that are right; ``reads`` means the HU of the good scan, every one."""
    says: str = ""
    """Pattern of the warning or the message."""
    options: dict = field(default_factory=dict)
    """Of ``read_series``."""


INPUTS = {}


def hostile(*wanted, says="", **options):
    """Enter an input into the table."""

    def enter(function):
        INPUTS[function.__name__] = Hostile(function, wanted, says, options)
        return function

    return enter


def scan(**options):
    """The good scan."""
    return Scan(**{"n_frames": N_FRAMES, "n_slices": N_SLICES, **options})


def written(folder, change=None, *, only=None, name=lambda t, z: f"{t}_{z}.dcm", **options):
    """The good scan as files, some or all of them changed before."""
    one = scan(**options)
    for (t, z), d in one.images.items():
        if change is not None and (only is None or (t, z) in only):
            change(d)
    return one.save(folder, name=name)


def raw(d, keyword, value, vr=None):
    """An element of bytes that no writer would write."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = Tag(tag_for_keyword(keyword))
    d._dict[tag] = RawDataElement(tag, vr or dictionary_VR(tag).split(" ")[0], len(value), value, 0, False, True)


# --- one bad file among good ones


@hostile(WARNS, says="1 broken files? .*left out.*broken DICOM file")
def stranger_of_nine_bytes(folder):
    written(folder)
    (folder / "x.dcm").write_bytes(b"123456789")


@hostile(WARNS, says="1 broken .*is truncated")
def truncated_stranger(folder):
    written(folder)
    other = scan(seed=5, number=9, n_frames=1, n_slices=1)
    path = other.save(folder, name=lambda t, z: "other.dcm")[0, 0]
    path.write_bytes(path.read_bytes()[:-20])


@hostile(REFUSES, says="3_1.dcm is truncated .*1 of 10 .*lacks slice 1.*--drop-incomplete")
def truncated_in_the_middle(folder):
    path = written(folder)[3, 1]
    path.write_bytes(path.read_bytes()[:-20])


@hostile(
    WARNS, says="1 broken .*4 time points are left, 1 images of time points that lack a slice", drop_incomplete=True
)
def truncated_and_dropped(folder):
    truncated_in_the_middle(folder)


@hostile(WARNS, says="1 broken .*undecodable pixels")
def damaged_compressed_frame_of_one_slice(folder):
    for path in written(folder, n_slices=1).values():
        compress(path, RLELossless)
    path = folder / "2_0.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: content.index(struct.pack("<HH", 0x7FE0, 0x10)) + 40] + b"\xff" * 60)


@hostile(WARNS, says="1 broken .*no SOP class")
def header_of_nothing(folder):
    written(folder)
    element = struct.pack("<HH2sH4s", 0x0010, 0x0020, b"LO", 4, b"ABCD")
    (folder / "empty.dcm").write_bytes(b"\0" * 128 + b"DICM" + element * 9)


@hostile(WARNS, says="2 hidden files look like DICOM")
def hidden_frame(folder):
    written(folder, name=lambda t, z: f"{'.' if t == 2 else ''}{t}_{z}.dcm")


@hostile(WARNS, says="2 hidden files look like DICOM")
def hidden_folder(folder):
    written(folder, name=lambda t, z: f"{'.trash/' if t == 2 else ''}{t}_{z}.dcm")


@hostile(READS)
def shadows_of_a_mac(folder):
    for path in written(folder).values():
        (folder / f"._{path.name}").write_bytes(b"\0\5\26\7" + b"\0" * 300)


# --- frames that hold nothing, or nothing like the rest


def smooth(d):
    """A head-like picture that is the same in all frames but for some HU."""
    y, x = np.mgrid[: d.Rows, : d.Columns]
    head = 1024 + 40 + 800 * ((abs(y - 8) > 5) | (abs(x - 8) > 5)) - 1000 * ((y < 2) | (x < 2))
    value = head + np.random.default_rng(int(d.InstanceNumber)).integers(0, 9, head.shape)
    d.PixelData = value.astype("<u2").tobytes()


def odd_frame(folder, pixels):
    """The smooth scan with one image of other pixels."""
    one = scan(rows=16, columns=16)
    for key, d in one.images.items():
        smooth(d)
        if key == (2, 1):
            d.PixelData = pixels(np.frombuffer(d.PixelData, "<u2").copy()).astype("<u2").tobytes()
    one.save(folder)


@hostile(WARNS, says="1 of 10 images hold one value alone .time point 2 slice 1")
def empty_frame(folder):
    odd_frame(folder, lambda p: p * 0)


@hostile(WARNS, says="1 of 10 images look like no other .*time point 2 slice 1")
def garbage_frame(folder):
    odd_frame(folder, lambda p: np.random.default_rng(0).integers(0, 4096, p.shape))


@hostile(WARNS, says="1 of 10 images look like no other")
def half_a_frame(folder):
    odd_frame(folder, lambda p: np.where(np.arange(len(p)) < len(p) // 2, p, 0))


@hostile(WARNS, says="1 of 10 images look like no other")
def bytes_in_the_wrong_order(folder):
    odd_frame(folder, lambda p: p.byteswap())


@hostile(WARNS, says="every image holds one value")
def all_frames_empty(folder):
    written(folder, lambda d: setattr(d, "PixelData", b"\0" * len(d.PixelData)))


# --- sizes that the header tells and the file hasn't


@hostile(REFUSES, says="is truncated .*8589672450 bytes|needs|is truncated")
def sixty_five_thousand_rows(folder):
    written(folder, lambda d: (setattr(d, "Rows", 65535), setattr(d, "Columns", 65535)))


@hostile(REFUSES, says="holds fewer pixels than it tells")
def sixty_five_thousand_rows_compressed(folder):
    for path in written(folder).values():
        compress(path, RLELossless)
        d = dcmread(path)
        d.Rows = d.Columns = 65535
        d.save_as(path)


@hostile(REFUSES, says="of memory|holds fewer pixels")
def more_cells_than_memory(folder):
    """Every file within its own bound, all of them beyond any memory."""
    one = scan(n_frames=40, n_slices=20, rows=64, columns=64, spacing=(0.05, 0.05))
    first = one.images[0, 0]
    save(first, folder.with_suffix(".dcm"))
    compress(folder.with_suffix(".dcm"), JPEG2000Lossless)
    packed = dcmread(folder.with_suffix(".dcm"))
    for d in one.images.values():
        d.Rows = d.Columns = 5800
        d.PixelData = packed.PixelData
        d["PixelData"].VR, d["PixelData"].is_undefined_length = "OB", True
    one.save(folder, syntax=JPEG2000Lossless)


@hostile(REFUSES, says="more pixels than Rows and Columns")
def rows_below_the_pixels(folder):
    written(folder, lambda d: setattr(d, "Rows", 5))


@hostile(REFUSES, says="more pixels than Rows and Columns")
def columns_below_the_pixels(folder):
    written(folder, lambda d: setattr(d, "Columns", 6))


@hostile(REFUSES, says="broken|more pixels")
def frames_below_the_pixels(folder):
    folder.mkdir()
    multi = enhanced(scan())
    multi.NumberOfFrames -= 2
    multi.PerFrameFunctionalGroupsSequence = multi.PerFrameFunctionalGroupsSequence[:-2]
    save(multi, folder / "multi.dcm")


@hostile(REFUSES, WARNS)
def rows_below_the_compressed_pixels(folder):
    for path in written(folder).values():
        compress(path, RLELossless)
        d = dcmread(path)
        d.Rows = 5
        d.save_as(path)


@hostile(REFUSES, WARNS)
def rows_below_the_wavelets(folder):
    for path in written(folder, rows=64, columns=64).values():
        compress(path, JPEG2000Lossless)
        d = dcmread(path)
        d.Rows = 50
        d.save_as(path)


@hostile(REFUSES, says="behind its pixels")
def bytes_slipped_in(folder):
    for path in written(folder).values():
        content = path.read_bytes()
        path.write_bytes(content[:-40] + b"\7\7" + content[-40:])


@hostile(READS)
def zeros_behind_the_pixels(folder):
    for path in written(folder).values():
        path.write_bytes(path.read_bytes() + b"\0" * 100)


@hostile(REFUSES, says="broken DICOM")
def element_of_four_gigabytes(folder):
    written(folder)
    for path in folder.iterdir():
        at = path.read_bytes().index(struct.pack("<HH", 0x0008, 0x0070))
        content = bytearray(path.read_bytes())
        content[at : at + 8] = struct.pack("<HH2sHI", 0x0009, 0x0010, b"UN", 0, 0xFFFFFFF0)[:8]
        path.write_bytes(content[: at + 8] + b"\xf0\xff\xff\xff" + content[at + 8 :])


# --- structures that parsers stumble over


@hostile(READS, WARNS, REFUSES)
def sequences_in_sequences(folder):
    deep = b"".join(
        struct.pack("<HH2sHIHHI", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) for _ in range(3000)
    )
    for path in written(folder).values():
        content = path.read_bytes()
        at = content.index(struct.pack("<HH", 0x0010, 0x0010))
        path.write_bytes(content[:at] + deep + content[at:])


@hostile(READS, WARNS, REFUSES)
def unknown_representations(folder):
    for path in written(folder).values():
        content = path.read_bytes()
        at = content.index(struct.pack("<HH2s", 0x0018, 0x0060, b"DS"))
        path.write_bytes(content[: at + 4] + b"ZZ" + content[at + 6 :])


@hostile(REFUSES, says="broken|impossible|no pixel spacing")
def spacing_of_nothing(folder):
    written(folder, lambda d: setattr(d, "PixelSpacing", [0, 0]))


@hostile(REFUSES, says="impossible pixel spacing")
def spacing_below_nothing(folder):
    written(folder, lambda d: setattr(d, "PixelSpacing", [-1, -1]))


@hostile(REFUSES, says="impossible pixel spacing")
def pixels_of_a_mile(folder):
    written(folder, lambda d: raw(d, "PixelSpacing", b"1e300\\1e300 "))


@hostile(REFUSES, says="impossible orientation")
def no_direction(folder):
    written(folder, lambda d: setattr(d, "ImageOrientationPatient", [0, 0, 0, 0, 0, 0]))


@hostile(REFUSES, says="impossible position")
def far_away(folder):
    written(folder, lambda d: raw(d, "ImagePositionPatient", b"1e300\\0\\0 "))


@hostile(REFUSES, says="impossible rescale")
def slope_of_nothing(folder):
    written(folder, lambda d: setattr(d, "RescaleSlope", 0))


@hostile(REFUSES, says="impossible rescale")
def slope_beyond_floats(folder):
    written(folder, lambda d: raw(d, "RescaleSlope", b"1e300 "))


@hostile(WARNS, REFUSES, says="1 broken .*impossible|lacks slice")
def one_slope_beyond_floats(folder):
    written(folder, lambda d: raw(d, "RescaleSlope", b"1e300 "), only={(2, 0)})


@hostile(READS)
def thickness_below_nothing(folder):
    written(folder, lambda d: setattr(d, "SliceThickness", -5), n_slices=1)


@hostile(REFUSES, says="bits|broken|can't be|holds|truncated")
def bits_of_no_machine(folder):
    written(folder, lambda d: setattr(d, "BitsAllocated", 24))


@hostile(REFUSES, says="broken|deflate|damaged")
def deflated_damage(folder):
    for path in scan().save(folder, syntax=DeflatedExplicitVRLittleEndian).values():
        content = bytearray(path.read_bytes())
        content[-300:-200] = b"\xff" * 100
        path.write_bytes(content)


# --- transfer syntaxes that aren't

TOLD = {
    "implicit": "1.2.840.10008.1.2", "explicit": "1.2.840.10008.1.2.1", "big": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99", "rle": "1.2.840.10008.1.2.5", "jpeg": "1.2.840.10008.1.2.4.50",
    "lossless": "1.2.840.10008.1.2.4.70", "jpeg_ls": "1.2.840.10008.1.2.4.80", "jpeg_2000": "1.2.840.10008.1.2.4.90",
    "high_throughput": "1.2.840.10008.1.2.4.201", "mpeg": "1.2.840.10008.1.2.4.100", "nonsense": "1.2.3", "none": "",
}  # fmt: skip
REAL = {"plain": None, "rle_frames": RLELossless, "wavelets": JPEG2000Lossless}


def compress(path, syntax):
    """A file packed by pydicom."""
    d = dcmread(path)
    d.compress(syntax, generate_instance_uid=False)
    d.save_as(path)


def told_otherwise(real, told):
    """The scan in one syntax, its files telling another."""

    def make(folder):
        for path in written(folder, rows=64, columns=64).values():  # wavelets need some room
            if real:
                compress(path, real)
            d = dcmread(path)
            content = path.read_bytes()
            old = d.file_meta.TransferSyntaxUID.encode()
            old += b"\0" * (len(old) % 2)
            new = told.encode() + b"\0" * (len(told) % 2)
            at = content.index(struct.pack("<HH2s", 2, 0x10, b"UI"))
            length = struct.unpack("<I", content[140:144])[0] + len(new) - len(old)
            assert content[at + 8 : at + 8 + len(old)] == old
            path.write_bytes(
                content[:140]
                + struct.pack("<I", length)
                + content[144 : at + 6]
                + struct.pack("<H", len(new))
                + new
                + content[at + 8 + len(old) :]
            )

    return make


for real_name, real_syntax in REAL.items():
    for told_name, told_uid in TOLD.items():
        INPUTS[f"{real_name}_told_as_{told_name}"] = Hostile(
            told_otherwise(real_syntax, told_uid), (READS, WARNS, REFUSES)
        )


# --- what is no file


@hostile(REFUSES, says="is a pipe, a device or a socket")
def pipe(folder):
    folder.mkdir()
    os.mkfifo(folder / "x")
    return folder / "x"


@hostile(READS)
def pipe_among_files(folder):
    written(folder)
    os.mkfifo(folder / "pipe.dcm")


@hostile(REFUSES, says="is a pipe, a device or a socket")
def device(folder):
    return Path("/dev/zero")


@hostile(REFUSES, says="is a pipe, a device or a socket")
def plug(folder):
    folder.mkdir()
    here = Path.cwd()
    os.chdir(folder)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("s")
    finally:
        os.chdir(here)
    return folder / "s"


@hostile(READS)
def links_in_circles(folder):
    written(folder)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere").symlink_to(folder / "not there")


# --- zips


def zipped(folder, change=None, *, method=zipfile.ZIP_DEFLATED, more=()):
    """The good scan as a zip, whose bytes may be changed."""
    paths = written(folder / "plain").values()
    with zipfile.ZipFile(folder / "study.zip", "w", method) as archive:
        for path in paths:
            archive.write(path, path.name)
        for name, content in more:
            archive.writestr(name, content)
    for path in paths:
        path.unlink()
    if change is not None:
        content = bytearray((folder / "study.zip").read_bytes())
        change(content)
        (folder / "study.zip").write_bytes(content)
    return folder / "study.zip"


def every(content, signature):
    """Where each header of that kind begins."""
    at = -1
    while (at := content.find(signature, at + 1)) >= 0:
        yield at


@hostile(REFUSES, says="unpacks to .* GB, the limit is .*--max-unpacked")
def zip_that_grows(folder):
    def change(content):
        for at in every(content, b"PK\1\2"):
            content[at + 24 : at + 28] = struct.pack("<I", 0xF0000000)

    return zipped(folder, change)


@hostile(REFUSES, says="can't be unpacked|unpacks to")
def zip_of_a_sixteen_petabyte_member(folder):
    def change(content):
        at = next(every(content, b"PK\1\2"))
        content[at + 24 : at + 28] = b"\xff" * 4

    return zipped(folder, change)


@hostile(REFUSES, says="limit is", max_unpacked=1e-6)
def zip_above_the_users_limit(folder):
    return zipped(folder)


@hostile(REFUSES, says="1 file name more than once")
def zip_with_doubled_names(folder):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zipped(folder, more=[("2_1.dcm", b"other")])


@hostile(REFUSES, says="1 file name more than once")
def zip_with_names_in_two_cases(folder):
    return zipped(folder, more=[("2_1.DCM", b"other")])


@hostile(REFUSES, WARNS, says="broken|can't be unpacked|lacks slice")
def zip_with_damage(folder):
    def change(content):
        at = list(every(content, b"PK\3\4"))[3]
        content[at + 60 : at + 90] = b"\xff" * 30

    return zipped(folder, change)


@hostile(REFUSES, WARNS, says="broken|can't be unpacked|lacks slice")
def zip_of_damaged_lzma(folder):
    def change(content):
        at = list(every(content, b"PK\3\4"))[3]
        content[at + 48 : at + 90] = b"\xff" * 42

    return zipped(folder, change, method=zipfile.ZIP_LZMA)


@hostile(REFUSES, says="can't be unpacked")
def zip_by_an_unknown_method(folder):
    def change(content):
        for at in every(content, b"PK\3\4"):
            content[at + 8 : at + 10] = struct.pack("<H", 98)
        for at in every(content, b"PK\1\2"):
            content[at + 10 : at + 12] = struct.pack("<H", 98)

    return zipped(folder, change)


@hostile(REFUSES, says="can't be unpacked")
def zip_with_a_password(folder):
    def change(content):
        for at in every(content, b"PK\3\4"):
            content[at + 6] |= 1
        for at in every(content, b"PK\1\2"):
            content[at + 8] |= 1

    return zipped(folder, change)


@hostile(READS)
def zip_that_climbs(folder):
    """Names that lead out of the folder stay within it."""
    return zipped(folder, more=[("../../../climbed.txt", b"x"), ("/tmp/climbed.txt", b"x")])


@hostile(WARNS, says="1 hidden file")
def zip_with_a_hidden_file(folder):
    other = written(folder / "more", seed=3, n_frames=1, n_slices=1)[0, 0]
    return zipped(folder, more=[(".x.dcm", other.read_bytes())])


@hostile(WARNS, says="2 broken .*damaged in the zip")
def zip_whose_damaged_members_climb(folder):
    """What is damaged is removed from the folder it was unpacked to, not from where its name leads."""
    kept = folder / "kept.txt"
    folder.mkdir()
    kept.write_text("mine")

    noise = np.random.default_rng(0).bytes(500)

    def change(content):
        for at in list(every(content, noise[:50])):  # deflate stores what it can't pack
            content[at + 100 : at + 110] = b"\0" * 10

    return zipped(folder, change, more=[("../../kept.txt", noise), (str(kept), noise)])


# --- media


def medium(folder, ids):
    """A DICOMDIR whose records tell these File IDs."""
    from pydicom.fileset import FileSet

    one, files = scan(), FileSet()
    for d in one.images.values():
        d.StudyDate, d.StudyTime, d.StudyID = "20260105", "100000", "1"
    for path in one.save(folder / "in").values():
        files.add(path)
    files.write(folder / "medium")
    files._stage["t"].cleanup()
    place = folder / "medium" / "DICOMDIR"
    directory = dcmread(place)
    records = [r for r in directory.DirectoryRecordSequence if "ReferencedFileID" in r]
    for record, told in zip(records, ids, strict=False):
        raw(record, "ReferencedFileID", "\\".join(told).encode())
    directory.save_as(place)
    return place


@hostile(REFUSES, says="1 files outside its medium")
def medium_that_climbs(folder):
    stranger = folder / "stranger"
    written(folder / "elsewhere", n_frames=1, n_slices=1)[0, 0].rename(stranger)
    return medium(folder, [["..", "stranger"]])


@hostile(REFUSES, says="outside its medium")
def medium_of_the_whole_disk(folder):
    return medium(folder, [["/etc/hostname"]])


@hostile(REFUSES, says="aren't there|can't be read")
def medium_with_a_name_beyond_measure(folder):
    return medium(folder, [["X" * 3000]])


@hostile(REFUSES, says="aren't there|can't be read")
def medium_with_a_folder_for_a_file(folder):
    return medium(folder, [["."]])


# --- NIfTI


def volumes(folder, name="ctp.nii.gz", *, kind="<i2", n=N_FRAMES):
    """A good series as NIfTI."""
    folder.mkdir(parents=True, exist_ok=True)
    data = scan(n_frames=n).hu.T.astype(kind)  # (x, y, z, time)
    image = nibabel.Nifti1Image(data, np.diag([-0.4, -0.5, 5, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.5
    path = folder / "plain.nii"
    nibabel.save(image, path)
    content = path.read_bytes()
    path.unlink()
    (folder / name).write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    return folder / name


def patched(path, changes):
    """The file with bytes of its (unpacked) header changed: offset to bytes."""
    packed = path.read_bytes()[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    for at, value in changes.items():
        content[at : at + len(value)] = value
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


SAID = "even steps"


@hostile(READS, says=SAID)
def nifti_in_capitals(folder):
    return volumes(folder, "CTP.NII.GZ")


@hostile(READS, says=SAID)
def nifti_in_capitals_unpacked(folder):
    return volumes(folder, "CTP.NII")


@hostile(REFUSES, says="truncated")
def nifti_in_capitals_cut(folder):
    path = volumes(folder, "CTP.NII.GZ")
    path.write_bytes(path.read_bytes()[:-60])
    return path


@hostile(REFUSES, says="CRC")
def gzip_with_another_checksum(folder):
    path = volumes(folder)
    content = bytearray(path.read_bytes())
    content[-6] ^= 255
    path.write_bytes(content)
    return path


@hostile(REFUSES, says="truncated|can't be read")
def gzip_without_its_end(folder):
    path = volumes(folder)
    path.write_bytes(path.read_bytes()[:-8])
    return path


@hostile(READS, says=SAID)
def gzip_named_plainly(folder):
    path = volumes(folder)
    return path.rename(folder / "ctp.nii")


@hostile(READS, says=SAID)
def plain_named_gzip(folder):
    path = volumes(folder, "ctp.nii")
    return path.rename(folder / "ctp.nii.gz")


@hostile(REFUSES, says="is truncated: its .* can't hold")
def nifti_of_a_billion_voxels(folder):
    return patched(volumes(folder), {42: struct.pack("<4h", 32767, 32767, 32767, 32767)})


@hostile(REFUSES, says="dimensional")
def nifti_of_nine_dimensions(folder):
    return patched(volumes(folder), {40: struct.pack("<h", 9)})


@hostile(REFUSES, says="voxels of type")
def nifti_of_less_than_nothing(folder):
    return patched(volumes(folder), {42: struct.pack("<h", -7)})


@hostile(REFUSES, says="truncated|can't be read")
def nifti_that_begins_far_away(folder):
    return patched(volumes(folder), {108: struct.pack("<f", 2e9)})


@hostile(REFUSES, says="can't be read")
def nifti_that_begins_nowhere(folder):
    return patched(volumes(folder), {108: struct.pack("<f", float("nan"))})


@hostile(REFUSES, says="right angles|which no scan has")
def nifti_without_axes(folder):
    return patched(volumes(folder), {252: struct.pack("<hh", 0, 1), 280: b"\0" * 48})


@hostile(REFUSES, says="right angles|which no scan has")
def nifti_of_a_mile(folder):
    return patched(volumes(folder), {280: struct.pack("<f", 1e30)})


@hostile(WARNS, REFUSES)
def nifti_of_infinite_slope(folder):
    return patched(volumes(folder), {112: struct.pack("<f", float("inf"))})


@hostile(WARNS, REFUSES)
def nifti_of_a_slope_beyond_floats(folder):
    return patched(volumes(folder), {112: struct.pack("<f", 3e38)})


@hostile(WARNS, says="bytes follow the last voxel")
def nifti_with_hidden_frames(folder):
    return patched(volumes(folder), {48: struct.pack("<h", N_FRAMES - 1)})


@hostile(REFUSES, says="numbers are needed")
def nifti_of_colours(folder):
    return patched(volumes(folder), {70: struct.pack("<hh", 128, 24)})


@hostile(REFUSES, says="1500 s apart.*milliseconds")
def nifti_in_milliseconds(folder):
    return patched(volumes(folder), {92: struct.pack("<f", 1500.0)})


@hostile(REFUSES, says="faster than any scanner")
def nifti_in_no_time(folder):
    return patched(volumes(folder), {92: struct.pack("<f", 2e-9)})


@hostile(REFUSES, says="no NIfTI header")
def nifti_of_words(folder):
    folder.mkdir()
    (folder / "a.nii").write_text("hello " * 200)
    return folder / "a.nii"


@hostile(REFUSES, says="can't be read|truncated|no NIfTI")
def nifti_of_nothing(folder):
    folder.mkdir()
    (folder / "a.nii.gz").write_bytes(b"")
    return folder / "a.nii.gz"


def beside(folder, text):
    """A series with that JSON beside it."""
    path = volumes(folder)
    (folder / "ctp.json").write_text(text)
    return path


@hostile(REFUSES, says="holds no times")
def sidecar_in_sidecars(folder):
    return beside(folder, '{"FrameTimes":' * 100_000)


@hostile(REFUSES, says="holds no times")
def sidecar_of_no_numbers(folder):
    return beside(folder, json.dumps({"FrameTimes": [0, 1, float("nan"), 3, 4]}))


@hostile(REFUSES, says="must rise")
def sidecar_that_falls(folder):
    return beside(folder, json.dumps({"FrameTimes": [0, 1, 3, 2, 4]}))


@hostile(REFUSES, says="holds no times")
def sidecar_of_a_word(folder):
    return beside(folder, json.dumps({"FrameTimes": {"a": 1}}))


@hostile(REFUSES, says="gap of")
def sidecar_with_a_gap(folder):
    return beside(folder, json.dumps({"FrameTimes": [0, 0.02, 0.04, 0.06, 13000]}))


# --- options


def with_options(name, says, **options):
    """The good scan asked for in a way that can't be meant."""
    INPUTS[name] = Hostile(written, (REFUSES,), says, options)


with_options("times_of_no_number", "finite seconds", times=[0.0, float("nan"), 2.0, 3.0, 4.0])
with_options("times_without_end", "finite seconds", times=[0.0, 1.0, 2.0, 3.0, float("inf")])
with_options("times_that_fall", "must rise", times=[0.0, 1.0, 3.0, 2.0, 4.0])
with_options("times_of_words", "must be seconds", times=["a", "b", "c", "d", "e"])
with_options("times_of_unlike_rows", "must be seconds", times=[[0.0], [1.0, 2.0]])
with_options("times_of_nothing", "finite seconds", times=[])
with_options("times_from_a_device", "holds no times|pipe", times="/dev/zero")
with_options("dt_of_no_number", "dt must be", dt=float("nan"))
with_options("dt_without_end", "dt must be", dt=float("inf"))
with_options("dt_below_nothing", "dt must be", dt=-1.0)
with_options("dt_of_a_word", "dt must be", dt="1.0")
with_options("dt_of_two_nanoseconds", "faster than any scanner", dt=2e-9)
with_options("dt_in_milliseconds", "1500 s apart.*milliseconds", dt=1500.0)
with_options("dt_of_a_century", "apart", dt=3e9)
with_options("limit_of_no_number", "max_unpacked must be", max_unpacked=float("nan"))
with_options("unknown_duplicates", "duplicates must be", duplicates="last")
