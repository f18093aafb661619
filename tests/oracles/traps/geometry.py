"""Where slices lie."""

import numpy as np

from oracles.scans import Scan
from oracles.traps.trap import Reads, as_told, plane, trap


@trap
def feet_first(folder):
    """Positions fall while numbers rise."""
    scan = Scan(orientation=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    scan.save(folder)
    return as_told(scan)


@trap
def coronal(folder):
    """Slices lie from front to back."""
    scan = Scan(orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    scan.save(folder)
    return as_told(scan)


@trap
def oblique(folder):
    """No axis of the image is one of the patient."""
    a, b = np.deg2rad(20), np.deg2rad(-35)
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    scan = Scan(orientation=tuple(float(v) for v in [*row, *column]))
    scan.save(folder)
    return as_told(scan)


@trap
def gantry_tilt(folder):
    """The gantry leans by 18 degrees while the table runs straight: a sheared stack of a function linear in place."""
    tilt = np.deg2rad(18)
    scan = Scan(rows=40, columns=9, orientation=(1.0, 0.0, 0.0, 0.0, np.cos(tilt), -np.sin(tilt)), spacing=(1.0, 1.0))

    def stored(places, t):
        return np.round(16 * (1000 + places @ [2.0, 3.0, -4.0] + t)) / 16

    def change(d, t, z):
        at = np.array([-100.0, -80.0, 30.0 + 5 * z])
        d.ImagePositionPatient, d.RescaleSlope, d.GantryDetectorTilt = [float(v) for v in at], "0.0625", "18"
        scan.put(d, 16 * stored(plane(at, scan.orientation, 40, 9), t))

    scan.each(change).save(folder)
    normal = scan.normal
    middle = np.array([-100.0, -80.0, 40.0])
    places = np.stack([plane(middle + (z - 2) * 5 * np.cos(tilt) * normal, scan.orientation, 40, 9) for z in range(4)])
    hu = np.stack([stored(places, t) for t in range(5)]) - 1024
    slip = 5 * np.sin(tilt)  # rows
    inside = np.array(
        [(np.arange(40) - (2 - z) * slip >= 0) & (np.arange(40) - (2 - z) * slip <= 39) for z in range(4)]
    )
    return Reads(
        hu,
        scan.times,
        origin=tuple(middle - 2 * 5 * np.cos(tilt) * normal),
        spacing=(5 * np.cos(tilt), 1.0, 1.0),
        says="leans by 18.0 degrees",
        atol=0.13,
        inside=np.broadcast_to(inside[None, :, :, None], hu.shape),
    )


@trap
def uneven_slices(folder):
    """The last slices lie further apart; values rise linearly along the stack."""
    scan = Scan(n_slices=6)
    places = np.array([0, 5, 10, 15, 22, 29.0])

    def change(d, t, z):
        d.ImagePositionPatient[2] = 30.0 + places[z]
        scan.put(d, np.full((6, 7), 1000 + 10 * places[z] + t))

    scan.each(change).save(folder)
    even = 1000 - 1024 + 10 * np.linspace(0, 29, 7)
    hu = np.broadcast_to((even[None] + np.arange(5)[:, None])[..., None, None], (5, 7, 6, 7))
    step = 29 / 6
    return Reads(hu, np.repeat(scan.times[:, :1], 7, 1), spacing=(step, 0.5, 0.4), says="interpolated to", atol=1e-3)


@trap
def decimal_strings(folder):
    """Spacing and orientation written differently from file to file."""
    scan = Scan()

    def change(d, t, z):
        if (t + z) % 2:
            d.PixelSpacing = ["0.500000", "0.4000"]
            d.ImageOrientationPatient = ["1.0000", "0.0001", "0", "-0.0001", "1", "0.000"]
            d.ImagePositionPatient[2] = d.ImagePositionPatient[2] + 0.003

    scan.each(change).save(folder)
    return as_told(scan)
