"""Order and number: images missing, doubled, numbered at random."""

import shutil

import numpy as np

from ctp_torch.errors import IncompleteSeriesError
from oracles.scans import Scan, save
from oracles.traps.trap import Reads, Refuses, as_told, trap


@trap
def random_instance_numbers(folder):
    """Instance Number means nothing."""
    scan = Scan()
    shuffled = np.random.default_rng(3).permutation(20)
    scan.each(lambda d, t, z: setattr(d, "InstanceNumber", int(shuffled[t * 4 + z]))).save(folder)
    return as_told(scan)


@trap
def slice_by_slice_numbers(folder):
    """Instance Number counts time first, and there is one Acquisition Number."""
    scan = Scan()
    scan.each(lambda d, t, z: (setattr(d, "InstanceNumber", z * 5 + t + 1), setattr(d, "AcquisitionNumber", 1)))
    scan.save(folder)
    return as_told(scan)


@trap
def files_twice(folder):
    """The same objects under two names."""
    scan = Scan()
    scan.save(folder / "a")
    shutil.copytree(folder / "a", folder / "b")
    return as_told(scan, says="copy of another file")


@trap
def one_uid_for_all(folder):
    """An anonymiser gave every file the same SOP Instance UID."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "SOPInstanceUID", "1.2.3.4")).save(folder)
    return as_told(scan)


@trap
def missing_cell(folder):
    """One slice lacks one time."""
    scan = Scan()
    del scan.images[2, 1]
    scan.save(folder)
    return Refuses(
        IncompleteSeriesError,
        r"1 of 20 \(slice, time\) cells are missing.*2 \(3.00 s\) lacks slice 1 \(at 35.0 mm\).*--drop-incomplete",
    )


@trap
def missing_cells_everywhere(folder):
    """Every slice lacks another time: equal counts, wrong frames for a reader that only counts."""
    scan = Scan()
    for z in range(4):
        del scan.images[z, z]
    scan.save(folder)
    return Refuses(
        IncompleteSeriesError, r"4 of 20 .*point 0 .*slice 0 .*point 1 .*slice 1 .*point 2 .*slice 2 .*point 3"
    )


@trap
def missing_first_cell(folder):
    """The first slice of the scan never came."""
    scan = Scan()
    del scan.images[0, 0]
    scan.save(folder)
    return Refuses(IncompleteSeriesError, r"1 of 20 .*time point 0 \(0.00 s\) lacks slice 0")


@trap
def missing_cell_of_a_shuttle(folder):
    """One slice of a shuttle scan lacks one time."""
    scan = Scan(n_frames=6)
    up = np.arange(4) * 0.3
    scan.set_times(np.stack([t * 1.2 + (up if t % 2 == 0 else up[::-1]) for t in range(6)]))
    del scan.images[3, 1]
    scan.save(folder)
    return Refuses(IncompleteSeriesError, r"1 of 24 .*time point 3 .*lacks slice 1")


@trap
def truncated_last_volume(folder):
    """The scan was stopped within the last volume."""
    scan = Scan()
    del scan.images[4, 2], scan.images[4, 3]
    scan.save(folder)
    return Refuses(IncompleteSeriesError, r"time point 4 \(6.00 s\) lacks slice 2 .*slice 3 .*--drop-incomplete")


@trap
def truncated_last_volume_dropped(folder):
    """The same, with leave to drop it."""
    scan = Scan()
    del scan.images[4, 2], scan.images[4, 3]
    scan.save(folder)
    return Reads(scan.hu[:4], scan.times[:4], options={"drop_incomplete": True}, says="its time point lacks a slice")


@trap
def doubled_cell(folder):
    """Two different images of one slice and time."""
    scan = Scan()
    scan.save(folder)
    twin = Scan(seed=9).images[1, 2]
    twin.SeriesInstanceUID, twin.InstanceNumber = scan.series, 500
    save(twin, folder / "twin.dcm")
    return Refuses(
        IncompleteSeriesError,
        r"1 \(slice, time\) cells hold more than one image.*slice 2 .*1.50 s.*twin.*--duplicates first",
    )


@trap
def doubled_cell_first_kept(folder):
    """The same, with leave to keep the first."""
    scan = Scan()
    scan.save(folder)
    twin = Scan(seed=9).images[1, 2]
    twin.SeriesInstanceUID, twin.InstanceNumber = scan.series, 500
    save(twin, folder / "0_twin.dcm")
    return as_told(scan, options={"duplicates": "first"}, says="second image of its slice and time")
