"""Small good scans in every container the reader takes, and random damage to them that a seed tells."""

import gzip
import resource
import signal
import struct
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from oracles.scans import Scan, enhanced, save
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ctp_torch.errors import CTPError
from ctp_torch.io import read_series

SECONDS, BYTES = 5.0, 1_000_000_000
"""What any input may take: of time, and of memory above what is taken already."""
STRANGE = (
    "", " ", "0", "-1", "1", "2", "65535", "1e308", "-1e308", "nan", "inf", "1,5", "1\\2", "1\\2\\3\\4\\5\\6",
    "0\\0\\0", "0\\0\\0\\0\\0\\0", "1e308\\1e308", "0\\0", "-1\\-1", "0.5\\nan",
    "nan\\nan\\nan", "9" * 400, "\0\0", "é",
    "x" * 70000, "../../etc/passwd",
    "20260230", "250000", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "ORIGINAL",
    "DERIVED\\PRIMARY", "MONOCHROME1", "RGB", "CT", "HU", "ISO_IR 999", "\x1b[31m", "01",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 7, 8, 12, 15, 16, 17, 32, 64, 255, 4096, 32767, 32768, 65535, 2**31 - 1, 2**32 - 1)
VRS = (
    "US",
    "SS",
    "UL",
    "DS",
    "IS",
    "LO",
    "CS",
    "UI",
    "OB",
    "OW",
    "SQ",
    "UN",
    "FD",
    "AT",
    "DA",
    "TM",
    "DT",
    "ZZ",
    "\0\0",
)
EVERY = tuple(sorted(DicomDictionary))


@dataclass(frozen=True)
class Mutation:
    """What is done to which container, all drawn from one seed."""

    container: str
    kind: str
    seed: int


def _native(folder, syntax):
    scan = Scan(n_frames=4, n_slices=2)
    if syntax == ExplicitVRBigEndian:  # pydicom writes pixels as they are handed to it
        for d in scan.images.values():
            d.PixelData = np.frombuffer(d.PixelData, "<u2").byteswap().tobytes()
    scan.save(folder, syntax=syntax, name=lambda t, z: f"{t}_{z}.dcm")


def _rle(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for (t, z), d in Scan(n_frames=4, n_slices=2).images.items():
        save(d, folder / f"{t}_{z}.dcm")
        compressed = dcmread(folder / f"{t}_{z}.dcm")
        compressed.compress(RLELossless, generate_instance_uid=False)
        compressed.save_as(folder / f"{t}_{z}.dcm")


def _enhanced(folder):
    folder.mkdir(parents=True, exist_ok=True)
    save(enhanced(Scan(n_frames=4, n_slices=2)), folder / "multi.dcm")


def _nifti(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).integers(-100, 900, (7, 6, 2, 4)).astype("int16" if "gz" in name else "float32")
    image = nibabel.Nifti1Image(data, np.diag([-0.5, -0.5, 5, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.5
    nibabel.save(image, folder / name)


def _zipped(folder):
    _native(folder / "plain", ExplicitVRLittleEndian)
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "plain").iterdir()):
            archive.write(path, path.name)
            path.unlink()
    (folder / "plain").rmdir()


def _dicomdir(folder):
    from pydicom.fileset import FileSet

    scan, files = Scan(n_frames=4, n_slices=2), FileSet()
    for d in scan.images.values():
        d.StudyDate, d.StudyTime, d.StudyID = "20260105", "100000", "1"
    for path in scan.save(folder / "in").values():
        files.add(path)
    files.write(folder / "medium")
    files._stage["t"].cleanup()
    for path in (folder / "in").iterdir():
        path.unlink()
    (folder / "in").rmdir()


CONTAINERS = {
    "explicit": lambda f: _native(f, ExplicitVRLittleEndian),
    "implicit": lambda f: _native(f, ImplicitVRLittleEndian),
    "big": lambda f: _native(f, ExplicitVRBigEndian),
    "deflated": lambda f: _native(f, DeflatedExplicitVRLittleEndian),
    "rle": _rle,
    "enhanced": _enhanced,
    "nifti": lambda f: _nifti(f, "ctp.nii"),
    "nifti_gz": lambda f: _nifti(f, "ctp.nii.gz"),
    "zip": _zipped,
    "dicomdir": _dicomdir,
}
"""Name to what writes the good scan into a folder."""
DICOM = ("explicit", "implicit", "big", "deflated", "rle", "enhanced")
KINDS = ("value", "vr", "remove", "foreign", "nested", "bytes", "cut", "grow", "header", "swap")


def place_of(container, folder):
    """What is given to the reader."""
    return {"zip": folder / "study.zip", "dicomdir": folder / "medium" / "DICOMDIR"}.get(container, folder)


def damage(mutation, folder):
    """Damage one file of the container, or all of them alike; the good scan lies there already."""
    rng = np.random.default_rng(mutation.seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    everywhere = bool(rng.integers(3) == 0)
    one = files[rng.integers(len(files))]
    state = rng.integers(2**32)
    for path in files if everywhere else [one]:
        _damage_file(mutation, path, np.random.default_rng(state))


def _damage_file(mutation, path, rng):
    kind = mutation.kind
    if kind in ("value", "vr", "remove", "foreign", "nested"):
        if mutation.container in DICOM or mutation.container == "dicomdir":
            return _damage_element(kind, path, rng)
        kind = "header"
    raw = bytearray(path.read_bytes())
    if kind == "bytes":
        for _ in range(rng.integers(1, 9)):
            raw[rng.integers(len(raw))] = rng.integers(256)
    elif kind == "header":
        for _ in range(rng.integers(1, 5)):
            at = rng.integers(min(len(raw), 1400))
            raw[at : at + 1] = bytes([rng.choice([0, 1, 127, 128, 255, rng.integers(256)])])
        if path.suffix == ".gz" and rng.integers(2):
            plain = bytearray(gzip.decompress(path.read_bytes()))
            plain[rng.integers(348)] = rng.integers(256)
            raw = gzip.compress(plain)
    elif kind == "cut":
        raw = raw[: rng.integers(len(raw))]
    elif kind == "grow":
        at = rng.integers(len(raw))
        raw[at:at] = rng.bytes(int(rng.choice([1, 2, 8, 200])))
    elif kind == "swap":
        a, b = sorted(rng.integers(len(raw), size=2))
        raw[a:b] = raw[a:b][::-1] if rng.integers(2) else b"\0" * (b - a)
    path.write_bytes(raw)
    return None


def _damage_element(kind, path, rng):
    """Another value, VR or place of one element, written by pydicom without its checks or by hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        d = dcmread(path, force=True)
        inner = _somewhere(d, rng)
        if kind == "remove":
            tags = list(inner.keys())
            del inner[tags[rng.integers(len(tags))]]
        elif kind == "nested":
            _nest(d, int(rng.choice([3, 60, 400])))
        else:
            tags = list(inner.keys()) if kind != "foreign" else EVERY
            tag = tags[rng.integers(len(tags))]
            _put(inner, tag, str(rng.choice(VRS)) if kind == "vr" else None, rng)
        try:
            d.save_as(path)
        except Exception:  # noqa: BLE001 - pydicom won't write it: damage the bytes instead
            raw = bytearray(path.read_bytes())
            raw[rng.integers(132, len(raw))] ^= 255
            path.write_bytes(raw)


def _somewhere(d, rng):
    """The data set itself, or an item of one of its sequences."""
    while True:
        sequences = [e for e in d if e.VR == "SQ" and e.value]
        if not sequences or rng.integers(3) == 0:
            return d
        items = sequences[rng.integers(len(sequences))].value
        d = items[rng.integers(len(items))]


def _nest(d, depth):
    """A sequence in a sequence, so many times."""
    for _ in range(depth):
        item, d = d, Dataset()
        d.ReferencedSeriesSequence = [item]


def _put(d, tag, vr, rng):
    """An element whose value isn't what its VR asks for."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    tag = Tag(tag)
    told = vr or (d[tag].VR if tag in d else str(DicomDictionary[int(tag)][0]).split(" ")[0])
    implicit, little = d.original_encoding if d.original_encoding[0] is not None else (False, True)
    pick = rng.integers(3)
    if pick == 0:
        value = str(rng.choice(STRANGE)).encode("utf-8")
    elif pick == 1:
        number = int(rng.choice(NUMBERS))
        value = struct.pack("<q" if little else ">q", number)[: int(rng.choice([2, 4, 8]))]
        value = value if little else struct.pack(">q", number)[-int(rng.choice([2, 4, 8])) :]
    else:
        value = rng.bytes(int(rng.choice([1, 2, 4, 8, 33])))
    if keyword_for_tag(tag) == "TransferSyntaxUID" or tag.group == 2:
        value = str(rng.choice(STRANGE)).encode("utf-8")
    d._dict[tag] = RawDataElement(tag, told, len(value), value, 0, implicit, little)


@contextmanager
def bounded(seconds=SECONDS, n_bytes=BYTES):
    """A block that ends in time and asks for no more memory than allowed, or fails."""

    def late(signum, frame):
        raise TimeoutError(f"over {seconds:g} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages + n_bytes, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def outcome(read, good=None):
    """What became of an input: ``same``, ``warned``, ``otherwise`` (as its header says now) or ``refused``.

    Anything else than a CTPError goes through, and fails the test.
    """
    try:
        with bounded():
            series = read()
    except CTPError as error:
        text = str(error)
        assert len(text) > 20, text
        return "refused"
    usual = [] if good is None else good.provenance.warnings
    if set(series.provenance.warnings) - set(usual):
        return "warned"
    return "same" if good is not None and same(series, good) else "otherwise"


def same(a, b):
    """Whether two series agree in every voxel, time and place."""
    return (
        a.hu.shape == b.hu.shape
        and bool(torch.equal(a.hu, b.hu))
        and bool(torch.allclose(a.times, b.times))
        and a.geometry.matches(b.geometry, tolerance_mm=1e-3)
    )


def read(container, folder):
    """The scan through the front door."""
    return read_series(place_of(container, folder))
