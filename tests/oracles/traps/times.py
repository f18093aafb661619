"""Clocks: which time is the time of an image."""

import numpy as np

from ctp_torch.errors import IncompleteSeriesError
from oracles.scans import Scan, moment
from oracles.traps.trap import Refuses, as_told, trap


@trap
def shuttle_times(folder):
    """The table goes up and down: every slice has its own times, the turning slices two in a row."""
    scan = Scan(n_frames=6)
    up = np.arange(4) * 0.3
    scan.set_times(np.stack([t * 1.2 + (up if t % 2 == 0 else up[::-1]) for t in range(6)]) + 0.0)
    scan.save(folder)
    return as_told(scan)


@trap
def uneven_frames(folder):
    """Dense in the first pass, sparse in the tail."""
    scan = Scan(n_frames=6)
    scan.set_times(np.repeat(np.array([0, 1, 2, 4.5, 9, 15.25])[:, None], 4, 1))
    scan.save(folder)
    return as_told(scan)


@trap
def past_midnight(folder):
    """Date and time both turn over."""
    scan = Scan()
    scan.set_times(scan.times, start=86397.0)
    scan.save(folder)
    return as_told(scan)


@trap
def past_midnight_without_date(folder):
    """Only the time of day is told, and it falls."""
    scan = Scan()
    scan.set_times(scan.times, start=86397.0)
    scan.drop("AcquisitionDate", "ContentDate").save(folder)
    return as_told(scan, says="midnight")


@trap
def past_midnight_date_left_behind(folder):
    """The date stays that of the start."""
    scan = Scan()
    scan.set_times(scan.times, start=86397.0)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionDate", "20260105")).save(folder)
    return as_told(scan, says="midnight")


@trap
def new_year(folder):
    """The year turns over during the scan."""
    scan = Scan()

    def change(d, t, z):
        second = 86397.0 + scan.times[t, z]
        day = "20251231" if second < 86400 else "20260101"
        d.AcquisitionDateTime = day + moment(second % 86400, day)[1]

    scan.each(change).drop("AcquisitionTime", "AcquisitionDate", "ContentTime").save(folder)
    return as_told(scan, source="AcquisitionDateTime")


@trap
def datetime_with_zone(folder):
    """Acquisition DateTime carries an offset from UTC."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "AcquisitionDateTime", d.AcquisitionDate + d.AcquisitionTime + "+0530"))
    scan.drop("AcquisitionTime", "ContentTime").save(folder)
    return as_told(scan, source="AcquisitionDateTime")


@trap
def clocks_go_back(folder):
    """Summer time ends during the scan: local time falls by an hour, UTC doesn't."""
    scan = Scan()

    def change(d, t, z):
        local = 10800.0 - 3.0 + scan.times[t, z]
        zone = "+0200" if local < 10800 else "+0100"
        local -= 0 if local < 10800 else 3600
        d.AcquisitionDateTime = "20251026" + moment(local, "20251026")[1] + zone

    scan.each(change).drop("AcquisitionTime", "ContentTime").save(folder)
    return as_told(scan)


@trap
def acquisition_time_missing(folder):
    """Only the moment of making is told."""
    scan = Scan()
    scan.drop("AcquisitionTime", "AcquisitionDate").save(folder)
    return as_told(scan, source="ContentTime", says="made, not taken")


@trap
def acquisition_time_constant(folder):
    """Acquisition Time is that of the first image in all of them; Trigger Time counts."""
    scan = Scan()

    def change(d, t, z):
        d.AcquisitionTime, d.ContentTime = "100000", "100500"
        d.TriggerTime = str(scan.times[t, z] * 1000)

    scan.each(change).save(folder)
    return as_told(scan, source="TriggerTime", says="AcquisitionTime is constant")


@trap
def temporal_position(folder):
    """Temporal Position Identifier times Temporal Resolution, no clock."""
    scan = Scan()

    def change(d, t, z):
        d.TemporalPositionIdentifier, d.TemporalResolution, d.NumberOfTemporalPositions = t + 1, "1500", 5

    scan.each(change).drop("AcquisitionTime", "ContentTime").save(folder)
    return as_told(scan, source="TemporalPositionIdentifier")


@trap
def content_time_of_a_slow_reconstruction(folder):
    """Content Time runs backwards and in other steps; Acquisition Time is right."""
    scan = Scan()

    def change(d, t, z):
        d.ContentTime = moment(37000 - 3 * t - 0.1 * z, "20260105")[1]

    scan.each(change).save(folder)
    return as_told(scan, source="AcquisitionTime")


@trap
def content_time_backwards_and_alone(folder):
    """Nothing but a Content Time that runs against the numbers of the images: no time at all."""
    scan = Scan()

    def change(d, t, z):
        d.ContentTime = moment(37000 - 3 * t - 0.1 * z, "20260105")[1]

    scan.each(change).drop("AcquisitionTime", "AcquisitionDate").save(folder)
    return Refuses(IncompleteSeriesError, r"ContentTime runs against .*--times FILE.*--dt")


@trap
def ge_mid_scan_time_seconds(folder):
    """GE's private clock in seconds, in another private block than usual; Acquisition Time is constant."""
    scan = Scan()

    def change(d, t, z):
        d.Manufacturer, d.AcquisitionTime = "GE MEDICAL SYSTEMS", "100000"
        d.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x24, "DS", "1")
        d.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x24, "DS", f"{12.25 + scan.times[t, z]:.4f}")

    scan.each(change).drop("ContentTime").save(folder)
    return as_told(scan, source="GE MidScanTime", says="read as seconds")


@trap
def ge_mid_scan_time_milliseconds(folder):
    """The same clock in milliseconds."""
    scan = Scan()

    def change(d, t, z):
        d.Manufacturer = "GE MEDICAL SYSTEMS"
        d.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x24, "DS", f"{500 + 1000 * scan.times[t, z]:.1f}")

    scan.each(change).drop("AcquisitionTime", "ContentTime").save(folder)
    return as_told(scan, source="GE MidScanTime", says="read as milliseconds")


@trap
def ge_delta_start_time(folder):
    """GE's other private clock."""
    scan = Scan()

    def change(d, t, z):
        d.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x1E, "DS", f"{scan.times[t, z]:.3f}")

    scan.each(change).drop("AcquisitionTime", "ContentTime").save(folder)
    return as_told(scan, source="GE DeltaStartTime")


@trap
def canon_volume_number(folder):
    """No clock; Canon's Volume Number orders the volumes, Instance Number is random, and the user tells the spacing."""
    scan = Scan()
    shuffled = np.random.default_rng(7).permutation(20)

    def change(d, t, z):
        d.Manufacturer, d.InstanceNumber, d.AcquisitionNumber = "TOSHIBA", int(shuffled[t * 4 + z]), 1
        d.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True).add_new(0x1F, "IS", str(t + 1))

    scan.each(change).drop("AcquisitionTime", "ContentTime").save(folder)
    return as_told(scan, options={"dt": 1.5}, says="Canon VolumeNumber")


@trap
def philips_jog(folder):
    """The couch jogs between two places: Acquisition Number counts passes, Acquisition Time differs between places."""
    scan = Scan()
    scan.set_times(scan.times * 2 + np.where(np.arange(4) < 2, 0.0, 1.4))

    def change(d, t, z):
        d.Manufacturer, d.AcquisitionNumber = "Philips", 2 * t + 1 + (z > 1)
        d.InstanceNumber = 20 - (t * 4 + z)
        d.private_block(0x01F1, "ELSCINT1", create=True).add_new(0x33, "SH", "3.0")

    scan.each(change).save(folder)
    return as_told(scan, source="AcquisitionTime")


@trap
def siemens_spiral_shuttle(folder):
    """Slices of a periodic spiral: every slice at its own moment, one Acquisition Number, numbers slice by slice."""
    scan = Scan(n_frames=8, n_slices=6)
    way = np.linspace(0.1, 1.4, 6)
    scan.set_times(np.stack([1.5 * t + (way if t % 2 == 0 else 1.5 - way) for t in range(8)]))

    def change(d, t, z):
        d.Manufacturer, d.AcquisitionNumber, d.InstanceNumber = "SIEMENS", 1, z * 8 + t + 1
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 DYNSPI"]

    scan.each(change).save(folder)
    return as_told(scan)


@trap
def no_times(folder):
    """Anonymised to the bone."""
    scan = Scan()
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder)
    return Refuses(IncompleteSeriesError, r"no acquisition times.*--times FILE.*--dt S")


@trap
def no_times_but_told(folder):
    """Anonymised to the bone, numbers slice by slice; the user gives a file of times."""
    scan = Scan()
    scan.set_times(np.repeat(np.array([0, 1, 2.5, 4, 9.0])[:, None], 4, 1))
    scan.each(lambda d, t, z: (setattr(d, "InstanceNumber", z * 5 + t + 1), delattr(d, "AcquisitionNumber")))
    told = folder.parent / "times.txt"
    told.write_text("\n".join(str(t) for t in scan.times[:, 0]))
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder / "ct")
    return as_told(scan, path=folder / "ct", options={"times": told}, says="InstanceNumber", source="given")


@trap
def whole_seconds_twice_a_second(folder):
    """Acquisition Time without fraction while images come twice a second: doubled cells, named."""
    scan = Scan(dt=0.5)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionTime", d.AcquisitionTime[:6])).drop("ContentTime").save(folder)
    return Refuses(IncompleteSeriesError, r"8 \(slice, time\) cells hold more than one.*slice 3")


@trap
def whole_seconds_and_dt(folder):
    """The same, and the user tells the spacing."""
    scan = Scan(dt=0.5)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionTime", d.AcquisitionTime[:6])).drop("ContentTime").save(folder)
    return as_told(scan, options={"dt": 0.5}, says="order of the images")


@trap
def old_style_times(folder):
    """Times with colons and no fraction, as before DICOM 3.0."""
    scan = Scan(dt=2.0)

    def change(d, t, z):
        text = d.AcquisitionTime
        d["AcquisitionTime"]._value = f"{text[:2]}:{text[2:4]}:{text[4:6]}"

    scan.each(change).drop("ContentTime").save(folder)
    return as_told(scan)


@trap
def some_times_missing(folder):
    """Three images lost their Acquisition Time; Acquisition DateTime is whole."""
    scan = Scan()

    def change(d, t, z):
        d.TriggerTime = str(1000 * scan.times[t, z])
        if t == 2 and z < 3:
            del d.AcquisitionTime

    scan.each(change).save(folder)
    return as_told(scan, source="TriggerTime", says="AcquisitionTime is missing in 3 of 20")
