"""Where slices lie: tables that don't come back to the same place, move, or tell their place elsewhere."""

import numpy as np

from ctp_torch.errors import IncompleteSeriesError
from oracles.foreign.case import Reads, Refuses, as_told, case
from oracles.scans import Scan


def _move(scan, offsets):
    """Move image (t, z) by ``offsets[t, z]`` mm along the stack."""
    offsets = np.asarray(offsets, float)
    offsets = np.repeat(offsets[:, None], scan.n_slices, 1) if offsets.ndim == 1 else offsets

    def change(d, t, z):
        d.ImagePositionPatient[2] = round(float(d.ImagePositionPatient[2]) + float(offsets[t, z]), 3)

    return scan.each(change)


def _ramp(scan, value):
    """Stored values that depend on the place [mm] and on time alone: ``value(z mm, t)``; they say where they lie."""

    def change(d, t, z):
        scan.put(d, np.full((scan.rows, scan.columns), value(float(d.ImagePositionPatient[2]), t)))

    return scan.each(change)


@case
def return_pass_stops_further(folder):
    """Every second pass stops a quarter of a millimetre further."""
    scan = Scan(n_frames=7, n_slices=5)
    _move(scan, [0.25 * (t % 2) for t in range(7)]).save(folder)
    return as_told(scan, says="0.25 mm")


@case
def shuttle_that_never_comes_back_quite(folder):
    """A shuttle with times of its own in every slice, whose way back lies 0.4 mm beside."""
    scan = Scan(n_frames=6)
    up = np.arange(4) * 0.3
    scan.set_times(np.stack([t * 1.2 + (up if t % 2 == 0 else up[::-1]) for t in range(6)]))
    _move(scan, [-0.4 * (t % 2) for t in range(6)]).save(folder)
    return as_told(scan, says="0.4")


@case
def jitter_of_a_worn_table(folder):
    """Every image lies up to 0.2 mm beside its place."""
    scan = Scan(n_frames=8, n_slices=5)
    jitter = np.random.default_rng(2).uniform(-0.2, 0.2, (8, 5))
    jitter[0] = 0
    _move(scan, jitter).save(folder)
    return as_told(scan)


@case
def jitter_of_thin_slices(folder):
    """Slices of half a millimetre, up to 0.04 mm beside."""
    scan = Scan(n_frames=5, n_slices=9, step=0.5)
    scan.each(lambda d, t, z: setattr(d, "SliceThickness", "0.5"))
    jitter = np.random.default_rng(3).uniform(-0.04, 0.04, (5, 9))
    jitter[0] = 0
    _move(scan, jitter).save(folder)
    return as_told(scan, spacing=(0.5, 0.5, 0.4))


@case
def passes_half_a_step_apart(folder):
    """Every second pass lies half a step further: four slices in six frames, not eight in three."""
    scan = Scan(n_frames=6)
    _ramp(_move(scan, [2.5 * (t % 2) for t in range(6)]), lambda mm, t: round(1000 + 8 * mm)).save(folder)
    hu = np.broadcast_to((8 * (30.0 + 5 * np.arange(4)) - 24)[None, :, None, None], (6, 4, 6, 7)).copy()
    hu[1::2, 0] += 20  # nothing lies below the first slice of the passes further up: theirs, half a step beside
    return Reads(hu, scan.times, says="2.50 mm", atol=0.5)


@case
def every_second_slice_in_turn(folder):
    """Even slices in one pass, odd ones half a step of time later: one volume, whose slices have times of their own."""
    scan = Scan(n_frames=6, n_slices=6)
    scan.set_times(2.0 * np.arange(6)[:, None] + np.arange(6) % 2)
    scan.save(folder)
    return as_told(scan)


@case
def every_third_slice_in_turn(folder):
    """Three passes make a volume."""
    scan = Scan(n_frames=6, n_slices=6)
    scan.set_times(3.0 * np.arange(6)[:, None] + np.arange(6) % 3 + 0.05 * (np.arange(6) // 3))
    scan.save(folder)
    return as_told(scan)


@case
def table_moves_along(folder):
    """From the fourth frame on the table stands 7 mm further along: what both places show is read, the rest is not."""
    scan = Scan(n_frames=6, n_slices=8)
    _ramp(_move(scan, [7.0 * (t > 2) for t in range(6)]), lambda mm, t: round(1000 + 8 * mm)).save(folder)
    hu = np.broadcast_to((8 * (30.0 + 5 * np.arange(1, 8)) - 24)[None, :, None, None], (6, 7, 6, 7)).copy()
    hu[3:, 0] += 16  # half a step from the nearest slice at most: 37 mm for 35
    return Reads(hu, scan.times[:, 1:], origin=(-100.0, -80.0, 35.0), says="(?s)7.00 mm.*time points 3 to 5", atol=0.5)


@case
def table_moves_by_whole_slices(folder):
    """From the fourth frame on the table stands two slices further: frames lack a slice at either end."""
    scan = Scan(n_frames=6, n_slices=8)
    _ramp(_move(scan, [10.0 * (t > 2) for t in range(6)]), lambda mm, t: round(1000 + 8 * mm)).save(folder)
    hu = np.broadcast_to((8 * (30.0 + 5 * np.arange(2, 8)) - 24)[None, :, None, None], (6, 6, 6, 7))
    return Reads(hu, scan.times[:, 2:], origin=(-100.0, -80.0, 40.0), says="10.00 mm.*time points 3 to 5", atol=0.5)


@case
def reconstruction_moves_in_plane(folder):
    """From the third frame on the reconstruction's centre lies 2 columns and 1 row further; the head doesn't move."""
    scan = Scan(rows=12, columns=14)

    def change(d, t, z):
        if t >= 2:
            x, y, at = d.ImagePositionPatient
            d.ImagePositionPatient = [float(x) + 0.8, float(y) + 0.5, at]
            scan.put(d, np.roll(scan.stored[0, z], (-1, -2), (0, 1)))
        else:
            scan.put(d, scan.stored[0, z])

    scan.each(change).save(folder)
    hu = np.repeat(scan.hu[:1], 5, 0)
    inside = np.ones(hu.shape, bool)
    inside[2:, :, :1], inside[2:, :, :, :2] = False, False
    return Reads(hu, scan.times, says="0.94 mm.*time points 2 to 4", inside=inside, atol=0.01)


@case
def thin_at_the_base_thick_above(folder):
    """Slices of 2.5 mm at the base and of 5 mm above, in one series."""
    scan = Scan(n_slices=8)
    places = 30 + np.array([0, 2.5, 5, 7.5, 11.25, 16.25, 21.25, 26.25])

    def change(d, t, z):
        d.ImagePositionPatient[2], d.SliceThickness = float(places[z]), "2.5" if z < 4 else "5"
        scan.put(d, np.full((6, 7), round(1000 + 8 * places[z] + t)))

    scan.each(change).save(folder)
    even = np.linspace(30, 56.25, 8)
    hu = np.broadcast_to((8 * even[None, :] - 24 + np.arange(5)[:, None])[..., None, None], (5, 8, 6, 7))
    return Reads(hu, scan.times, spacing=(3.75, 0.5, 0.4), says="interpolated to", atol=1.0)


@case
def places_lost_in_some_frames(folder):
    """All images of two frames tell the place of the first slice; Slice Location still tells them apart."""
    scan = Scan()

    def change(d, t, z):
        d.SliceLocation = str(30 + 5 * z)
        if t in (1, 3):
            d.ImagePositionPatient = [-100.0, -80.0, 30.0]

    scan.each(change).save(folder)
    return Refuses(IncompleteSeriesError, r"one position.*Slice Location")


@case
def places_lost_in_all(folder):
    """All images tell one place; Slice Location tells four, at one moment each frame."""
    scan = Scan()

    def change(d, t, z):
        d.SliceLocation, d.ImagePositionPatient = str(-12.5 - 5 * z), [0.0, 0.0, 0.0]

    scan.each(change).save(folder)
    return Refuses(IncompleteSeriesError, r"one position.*Slice Location")


@case
def slice_location_counts_the_table(folder):
    """Slice Location is nonsense, as on some scanners; positions are right."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "SliceLocation", str(7 * t - z))).save(folder)
    return as_told(scan)


@case
def another_place_in_the_plane(folder):
    """From the third frame on the images lie beside those of the first altogether."""
    scan = Scan()
    scan.each(lambda d, t, z: d.ImagePositionPatient.__setitem__(0, -100.0 + (12 if t > 1 else 0))).save(folder)
    return Refuses(IncompleteSeriesError, r"time points 2 to 4 lie 12.0 mm beside")
