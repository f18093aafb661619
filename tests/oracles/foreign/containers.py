"""Archives in archives, media without images, strangers."""

import gzip
import io
import tarfile
import zipfile

from ctp_torch.errors import CTPError, NoSeriesError, UnreadableFileError
from oracles.foreign.case import Refuses, as_told, case
from oracles.scans import Scan


def _plain(folder):
    """The scan as files beside the folder."""
    scan = Scan()
    folder.mkdir()
    return scan, list(scan.save(folder.parent / "plain").values())


def _zip(paths):
    """The files in a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in paths:
            archive.write(path, f"study/{path.name}")
    return content.getvalue()


def _tar(path, paths, mode):
    with tarfile.open(path, mode) as archive:
        for k, one in enumerate(paths):
            archive.add(one, f"study/{k}")


@case
def tar_without_compression(folder):
    """A tar."""
    scan, paths = _plain(folder)
    _tar(folder / "study.tar", paths, "w")
    return as_told(scan, path=folder / "study.tar")


@case
def tar_of_another_name(folder):
    """A tar packed by bzip2, under a name that doesn't tell."""
    scan, paths = _plain(folder)
    _tar(folder / "export.bin", paths, "w:bz2")
    return as_told(scan, path=folder / "export.bin")


@case
def tar_that_climbs(folder):
    """Members that ask for places outside, and links."""
    scan, paths = _plain(folder)
    with tarfile.open(folder / "study.tgz", "w:gz") as archive:
        for k, one in enumerate(paths):
            archive.add(one, f"../../{k}")
        link = tarfile.TarInfo("passwords")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return as_told(scan, path=folder / "study.tgz")


@case
def tar_cut(folder):
    """A tar that ends too early."""
    _, paths = _plain(folder)
    _tar(folder / "study.tar.gz", paths, "w:gz")
    content = (folder / "study.tar.gz").read_bytes()
    (folder / "study.tar.gz").write_bytes(content[: len(content) // 2])
    return Refuses(UnreadableFileError, r"study.tar.gz can't be unpacked", path=folder / "study.tar.gz")


@case
def tar_in_a_folder(folder):
    """Nothing but a tar in the folder."""
    _, paths = _plain(folder)
    _tar(folder / "study.tgz", paths, "w:gz")
    return Refuses(NoSeriesError, r"archive.*unpack")


@case
def zips_in_a_zip(folder):
    """A zip for every slice in a zip."""
    _, paths = _plain(folder)
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for z in range(4):
            archive.writestr(f"{z}.zip", _zip(paths[z::4]))
    return Refuses(NoSeriesError, r"4 x .*zip.*unpack", path=folder / "all.zip")


@case
def archive_beside_the_images(folder):
    """A zip lies among the images: it isn't opened, and that is said."""
    scan = Scan()
    paths = list(scan.save(folder).values())
    (folder / "rest.zip").write_bytes(_zip(paths[:3]))
    return as_told(scan, says="(?i)archive")


@case
def every_file_packed(folder):
    """Each file packed by gzip."""
    _, paths = _plain(folder)
    for path in paths:
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    return Refuses(NoSeriesError, r"20 x .*gzip.*unpack")


@case
def stranger_of_nine_bytes(folder):
    """A stub of 9 bytes beside the images."""
    scan = Scan()
    scan.save(folder)
    (folder / "a.dcm").write_bytes(b"ISO_IR 10")
    return as_told(scan, says="broken DICOM file")


@case
def medium_of_nothing(folder):
    """A DICOMDIR that lists no image."""
    from pydicom import Dataset, FileDataset
    from pydicom.dataset import FileMetaDataset

    folder.mkdir()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    d = FileDataset(str(folder / "DICOMDIR"), Dataset(), preamble=b"\0" * 128, file_meta=meta)
    patient = Dataset()
    patient.DirectoryRecordType, patient.PatientID = "PATIENT", "SECRET42"
    d.DirectoryRecordSequence = [patient]
    d.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return Refuses(CTPError, r"lists no .*give the folder", path=folder / "DICOMDIR")


@case
def medium_that_lacks_a_file(folder):
    """A DICOMDIR one of whose files is gone."""
    from pydicom.fileset import FileSet

    scan, files = Scan(), FileSet()
    for d in scan.images.values():
        d.StudyDate, d.StudyTime, d.StudyID = "20260105", "100000", "1"
    for path in scan.save(folder / "in").values():
        files.add(path)
    files.write(folder / "medium")
    files._stage["t"].cleanup()
    next(p for p in sorted((folder / "medium").rglob("*")) if p.is_file() and p.name != "DICOMDIR").unlink()
    return Refuses(UnreadableFileError, r"lists 1 files? that .*there", path=folder / "medium" / "DICOMDIR")
