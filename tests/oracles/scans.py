"""Made scans as pydicom data sets: known HU, times and places, written by pydicom and not by the package."""

from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT = UID("1.2.840.10008.5.1.4.1.1.2")
ENHANCED = UID("1.2.840.10008.5.1.4.1.1.2.1")
LEGACY = UID("1.2.840.10008.5.1.4.1.1.2.2")


@dataclass
class Scan:
    """Images by (time, slice), and what a reader must make of them."""

    n_frames: int = 5
    n_slices: int = 4
    rows: int = 6
    columns: int = 7
    seed: int = 0
    step: float = 5.0
    spacing: tuple = (0.5, 0.4)
    origin: tuple = (-100.0, -80.0, 30.0)
    orientation: tuple = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    dt: float = 1.5
    description: str = "CTP"
    number: int = 4
    series: str = ""
    stored: np.ndarray = field(init=False)
    times: np.ndarray = field(init=False)
    images: dict = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        shape = (self.n_frames, self.n_slices, self.rows, self.columns)
        self.stored = rng.integers(900, 2500, shape)
        self.times = np.repeat(np.arange(self.n_frames)[:, None] * self.dt, self.n_slices, axis=1)
        self.series = self.series or generate_uid(entropy_srcs=["series", str(self.seed), str(self.number)])
        self.images = {(t, z): self._image(t, z) for t in range(self.n_frames) for z in range(self.n_slices)}
        self.set_times(self.times)

    @property
    def normal(self):
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def hu(self):
        return self.stored.astype("float32") - 1024

    def _image(self, t, z):
        d = Dataset()
        d.SOPClassUID = CT
        d.SOPInstanceUID = generate_uid(entropy_srcs=[self.series, str(t), str(z)])
        d.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
        d.SeriesInstanceUID = self.series
        d.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
        d.PatientName, d.PatientID, d.PatientBirthDate = "Secret^Person", "SECRET42", "19010203"
        d.AccessionNumber, d.ReferringPhysicianName = "SECRETACC", "Secret^Physician"
        d.Modality, d.Manufacturer, d.ManufacturerModelName = "CT", "Made", "Model"
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.SeriesNumber, d.SeriesDescription = self.number, self.description
        d.AcquisitionNumber, d.InstanceNumber = t + 1, t * self.n_slices + z + 1
        d.KVP, d.SliceThickness, d.ConvolutionKernel = "80", "5", "H31s"
        d.ImagePositionPatient = [float(p) for p in np.asarray(self.origin) + z * self.step * self.normal]
        d.ImageOrientationPatient = list(self.orientation)
        d.PixelSpacing = list(self.spacing)
        d.Rows, d.Columns, d.SamplesPerPixel = self.rows, self.columns, 1
        d.PhotometricInterpretation = "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
        d.RescaleSlope, d.RescaleIntercept, d.RescaleType = "1", "-1024", "HU"
        self.put(d, self.stored[t, z])
        return d

    def put(self, d, stored):
        """Pixel data in the sign that the header tells."""
        d.PixelData = np.asarray(stored).astype("<i2" if d.PixelRepresentation else "<u2").tobytes()
        d["PixelData"].VR = "OW"

    def set_times(self, times, *, start=36000.0, day="20260105"):
        """Acquisition Date and Time; seconds from midnight of the day."""
        self.times = np.asarray(times, float)
        for (t, z), d in self.images.items():
            d.AcquisitionDate, d.AcquisitionTime = moment(start + self.times[t, z], day)
            d.ContentDate, d.ContentTime = moment(start + 100 + self.times[t, z], day)

    def each(self, change):
        """Change every image: change(dataset, t, z)."""
        for (t, z), d in self.images.items():
            change(d, t, z)
        return self

    def drop(self, *keywords):
        """Take attributes out of every image."""
        for d in self.images.values():
            for keyword in keywords:
                if keyword in d:
                    delattr(d, keyword)
        return self

    def save(self, folder, *, name=None, syntax=ExplicitVRLittleEndian):
        """Write every image; names shuffled unless given."""
        folder.mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(self.seed + 1).permutation(len(self.images))
        paths = {}
        for k, ((t, z), d) in zip(order, self.images.items(), strict=True):
            path = folder / (name(t, z) if name else f"{self.number}_{k:03d}.dcm")
            path.parent.mkdir(parents=True, exist_ok=True)
            save(d, path, syntax=syntax)
            paths[t, z] = path
        return paths


def moment(seconds, day):
    """DICOM date and time of seconds after midnight of a day, past midnight into the next."""
    day = str(int(day) + int(seconds // 86400))
    micro = round((seconds % 86400) * 1e6)
    whole = micro // 1_000_000
    return day, f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{micro % 1_000_000:06d}"


def save(d, path, *, syntax=ExplicitVRLittleEndian):
    """Write a data set as a DICOM file in a native transfer syntax."""
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = UID(syntax)
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.save_as(path, enforce_file_format=True)


def enhanced(scan, frames=None, *, sop_class=ENHANCED, per_frame=None):
    """One multi-frame object of the images (all, or those frames), per-frame rescale, place and time."""
    keys = [k for k in scan.images if frames is None or k[0] in frames]
    first = scan.images[keys[0]]
    d = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName",
                    "Modality", "Manufacturer", "ImageType", "SeriesNumber", "SeriesDescription", "Rows", "Columns",
                    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
                    "PixelRepresentation"):  # fmt: skip
        setattr(d, keyword, getattr(first, keyword))
    d.SOPClassUID = sop_class
    d.SOPInstanceUID = generate_uid(entropy_srcs=["enhanced", str(frames), scan.series])
    d.NumberOfFrames = len(keys)
    shared = Dataset()
    shared.PlaneOrientationSequence = [part(ImageOrientationPatient=first.ImageOrientationPatient)]
    shared.PixelMeasuresSequence = [part(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)]
    shared.CTReconstructionSequence = [part(ConvolutionKernel="H31s")]
    d.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for t, z in keys:
        one = scan.images[t, z]
        group = Dataset()
        group.PlanePositionSequence = [part(ImagePositionPatient=one.ImagePositionPatient)]
        group.PixelValueTransformationSequence = [
            part(RescaleSlope=one.RescaleSlope, RescaleIntercept=one.RescaleIntercept, RescaleType="HU")
        ]
        group.FrameContentSequence = [Dataset()]
        if per_frame:
            per_frame(group, one, t, z)
        else:
            stamp = one.AcquisitionDate + one.AcquisitionTime
            group.FrameContentSequence[0].FrameReferenceDateTime = stamp
            group.FrameContentSequence[0].TemporalPositionIndex = t + 1
        groups.append(group)
    d.PerFrameFunctionalGroupsSequence = groups
    d.PixelData = b"".join(scan.images[k].PixelData for k in keys)
    d["PixelData"].VR = "OW"
    return d


def part(**values):
    """A data set of these attributes."""
    d = Dataset()
    for keyword, value in values.items():
        setattr(d, keyword, value)
    return d
