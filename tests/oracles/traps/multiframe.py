"""Enhanced and legacy converted objects."""

import numpy as np

from ctp_torch.errors import NoSeriesError, UnreadableFileError
from oracles.scans import LEGACY, Scan, enhanced, part, save
from oracles.traps.trap import Reads, Refuses, as_told, trap, within


@trap
def enhanced_per_frame_rescale(folder):
    """Enhanced CT, one object: rescale, place and time differ from frame to frame."""
    scan = Scan()

    def change(d, t, z):
        d.RescaleSlope, d.RescaleIntercept = ["1", "2"][t % 2], ["-1024", "0"][z % 2]

    scan.each(change)
    save(enhanced(scan), within(folder, "multi.dcm"))
    slope = np.where(np.arange(5) % 2, 2.0, 1.0)[:, None, None, None]
    intercept = np.where(np.arange(4) % 2, 0.0, -1024.0)[None, :, None, None]
    return Reads(scan.stored * slope + intercept, scan.times, source="FrameReferenceDateTime")


@trap
def enhanced_constant_index(folder):
    """Temporal Position Index is 1 in all frames and dates are those of the start; the time offset counts."""
    scan = Scan()

    def per_frame(group, one, t, z):
        content = group.FrameContentSequence[0]
        content.FrameReferenceDateTime = content.FrameAcquisitionDateTime = "20260105100000"
        content.TemporalPositionIndex = 1
        group.TemporalPositionSequence = [part(TemporalPositionTimeOffset=float(scan.times[t, z]))]

    save(enhanced(scan, per_frame=per_frame), within(folder, "multi"))
    return as_told(scan, source="TemporalPositionTimeOffset", says="FrameReferenceDateTime is constant")


@trap
def enhanced_object_for_every_time(folder):
    """Enhanced CT, one object a time point."""
    scan = Scan()
    for t in range(5):
        save(enhanced(scan, frames=[t]), within(folder, f"{(3 * t) % 5}.dcm"))
    return as_told(scan)


@trap
def enhanced_frames_shuffled(folder):
    """Frames lie in no order within the object."""
    scan = Scan()
    keys = list(scan.images)
    shuffled = [keys[k] for k in np.random.default_rng(5).permutation(len(keys))]
    scan.images = {k: scan.images[k] for k in shuffled}
    save(enhanced(scan), within(folder, "multi.dcm"))
    return as_told(scan)


@trap
def enhanced_truncated(folder):
    """The object ends within its last frame."""
    path = within(folder, "multi.dcm")
    save(enhanced(Scan()), path)
    path.write_bytes(path.read_bytes()[:-11])
    return Refuses(UnreadableFileError, r"multi.dcm is truncated")


@trap
def enhanced_run_length_encoded(folder):
    """Compressed multi-frame with per-frame rescale."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "RescaleIntercept", str(-1000 - t)))
    multi = enhanced(scan)
    path = within(folder, "multi.dcm")
    save(multi, path)
    multi.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    multi.save_as(path)
    return Reads(scan.stored - 1000.0 - np.arange(5)[:, None, None, None], scan.times)


@trap
def legacy_converted(folder):
    """Legacy Converted Enhanced CT: the classic attributes went into unassigned groups."""
    scan = Scan()

    def per_frame(group, one, t, z):
        del group.FrameContentSequence
        group.UnassignedPerFrameConvertedAttributesSequence = [
            part(AcquisitionDate=one.AcquisitionDate, AcquisitionTime=one.AcquisitionTime, InstanceNumber=t * 4 + z)
        ]

    save(enhanced(scan, sop_class=LEGACY, per_frame=per_frame), within(folder, "legacy.dcm"))
    return as_told(scan, source="AcquisitionTime")


@trap
def enhanced_map(folder):
    """An enhanced object of a perfusion map is no source image."""
    scan = Scan(n_frames=1)
    multi = enhanced(scan)
    multi.ImageType = ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]
    save(multi, within(folder, "map.dcm"))
    return Refuses(NoSeriesError, r"perfusion map, no source image \(DERIVED/PRIMARY/PERFUSION/RCBF\)")
