"""Folders, archives, media."""

import zipfile

from ctp_torch.errors import NoSeriesError
from oracles.scans import Scan
from oracles.traps.trap import Refuses, as_told, trap


@trap
def no_extensions_deep_folders(folder):
    """Names like an archive's, folders in folders."""
    scan = Scan()
    scan.save(folder, name=lambda t, z: f"DICOM/PA{z}/ST{t}/IM{(7 * t + 3 * z) % 20:06d}")
    return as_told(scan)


@trap
def dicomdir(folder):
    """The DICOMDIR of a medium, given by its path; a file beside it isn't listed."""
    from pydicom.fileset import FileSet

    scan, stray = Scan(), Scan(seed=4, number=5)
    files = FileSet()
    for d in scan.images.values():
        d.PatientID, d.StudyDate, d.StudyTime, d.StudyID = "SECRET42", "20260105", "100000", "1"
    for path in scan.save(folder / "in").values():
        files.add(path)
    files.write(folder / "medium")
    files._stage["t"].cleanup()
    stray.save(folder / "medium" / "STRAY")
    return as_told(scan, path=folder / "medium" / "DICOMDIR")


@trap
def dicomdir_in_folder(folder):
    """A whole medium given as a folder."""
    from pydicom.fileset import FileSet

    scan = Scan()
    files = FileSet()
    for d in scan.images.values():
        d.StudyDate, d.StudyTime, d.StudyID = "20260105", "100000", "1"
    for path in scan.save(folder.parent / "in").values():
        files.add(path)
    files.write(folder / "medium")
    files._stage["t"].cleanup()
    return as_told(scan, path=folder / "medium", says="DICOMDIR")


@trap
def zipped(folder):
    """A zip of a folder."""
    scan = Scan()
    paths = scan.save(folder.parent / "plain")
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        for k, path in enumerate(paths.values()):
            archive.write(path, f"study/{k}")
        archive.writestr("readme.txt", "hello")
    return as_told(scan, path=folder / "study.zip")


@trap
def foreign_letters(folder):
    """Names and descriptions in other scripts, one character set wrongly told."""
    scan = Scan()

    def change(d, t, z):
        d.SpecificCharacterSet = "ISO_IR 192"
        d.PatientName, d.SeriesDescription = "山田^太郎", "Perfusão crânio 灌流"

    paths = scan.each(change).save(folder)
    odd = paths[0, 0]
    odd.write_bytes(odd.read_bytes().replace(b"ISO_IR 192", b"ISO_IR 999"))
    return as_told(scan)


@trap
def nothing(folder):
    """An empty folder."""
    folder.mkdir(exist_ok=True)
    return Refuses(NoSeriesError, r"it is empty")


@trap
def no_such_place(folder):
    """A wrong path."""
    return Refuses(NoSeriesError, r"doesn't exist", path=folder / "nowhere")


@trap
def no_ct(folder):
    """Text and MR only."""
    scan = Scan(n_frames=1)
    scan.each(lambda d, t, z: (setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"), setattr(d, "Modality", "MR")))
    scan.save(folder)
    (folder / "a.txt").write_text("x" * 300)
    return Refuses(
        NoSeriesError, r"no CT perfusion images: 4 x no CT image \(MR Image Storage, modality MR\).*no DICOM file"
    )
