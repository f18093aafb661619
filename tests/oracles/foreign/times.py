"""When images were taken: clocks cut, shifted, told in other units, or in no order."""

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ctp_torch.errors import IncompleteSeriesError
from oracles.foreign.case import Refuses, as_told, case, within
from oracles.scans import Scan, enhanced, moment, part, save


def text(d, tag, vr, value):
    """An element of a text that no writer would write."""
    value = value + " " * (len(value) % 2)
    d._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value.encode(), 0, False, True)


@case
def date_times_in_whole_seconds(folder):
    """Acquisition DateTime is cut to seconds; Acquisition Time isn't."""
    scan = Scan(n_frames=7)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionDateTime", d.AcquisitionDate + d.AcquisitionTime[:6]))
    scan.drop("ContentTime").save(folder)
    return as_told(scan, source="AcquisitionTime")


@case
def rounded_date_times(folder):
    """Acquisition DateTime is rounded to seconds, images 0.7 s apart: some share a second."""
    scan = Scan(n_frames=8, dt=0.7)

    def change(d, t, z):
        d.AcquisitionDateTime = "".join(moment(36000 + round(scan.times[t, z]), "20260105"))[:14]

    scan.each(change).drop("ContentTime").save(folder)
    return as_told(scan, source="AcquisitionTime")


@case
def offsets_in_whole_seconds(folder):
    """A multi-frame object whose reference times are whole seconds and whose offsets aren't."""
    scan = Scan(n_frames=6, dt=1.25)

    def per_frame(group, one, t, z):
        content = group.FrameContentSequence[0]
        content.FrameReferenceDateTime = (one.AcquisitionDate + one.AcquisitionTime)[:14]
        group.TemporalPositionSequence = [part(TemporalPositionTimeOffset=float(scan.times[t, z]))]

    save(enhanced(scan, per_frame=per_frame), within(folder, "multi"))
    return as_told(scan, source="TemporalPositionTimeOffset")


@case
def whole_seconds_alone(folder):
    """Nothing but whole seconds, 1.5 s apart: 0, 1, 3, 4 ... can only come from even steps."""
    scan = Scan(n_frames=9)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionTime", d.AcquisitionTime[:6])).drop("ContentTime").save(folder)
    return as_told(scan, source="AcquisitionTime", says="whole seconds")


@case
def whole_seconds_uneven(folder):
    """Whole seconds that no even step explains: read as they stand, and said."""
    scan = Scan(n_frames=9)
    times = np.repeat(np.array([0, 1.6, 2.9, 5.2, 6.1, 8.8, 9.9, 12.7, 13.4])[:, None], 4, 1)
    scan.set_times(times)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionTime", d.AcquisitionTime[:6])).drop("ContentTime").save(folder)
    scan.times = np.floor(times)
    return as_told(scan, says="whole seconds")


@case
def one_blank_date(folder):
    """One frame lost its date."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "AcquisitionDate", "" if t == 2 else d.AcquisitionDate))
    scan.drop("ContentTime").save(folder)
    return as_told(scan, says="(?i)date")


@case
def dates_shifted_one_by_one(folder):
    """An anonymiser shifted the date of every image by days of its own."""
    scan = Scan()
    shift = np.random.default_rng(4).integers(1, 28, (5, 4))
    scan.each(lambda d, t, z: setattr(d, "AcquisitionDate", f"202602{shift[t, z]:02d}")).drop("ContentTime").save(
        folder
    )
    return as_told(scan, says="(?i)date")


@case
def date_shifted_past_midnight(folder):
    """The scan runs past midnight, and one frame's date is a week late."""
    scan = Scan()
    scan.set_times(scan.times, start=86397.0)
    scan.each(lambda d, t, z: setattr(d, "AcquisitionDate", "20260113") if t == 3 else None).drop("ContentTime")
    scan.save(folder)
    return as_told(scan, says="(?i)date")


@case
def zone_in_every_second_file(folder):
    """An offset from UTC of five and a half hours stands in every second file."""
    scan = Scan()

    def change(d, t, z):
        d.AcquisitionDateTime = d.AcquisitionDate + d.AcquisitionTime + ("+0530" if (t + z) % 2 else "")

    scan.each(change).drop("ContentTime", "AcquisitionTime", "AcquisitionDate").save(folder)
    return as_told(scan, says="(?i)UTC")


@case
def zone_attribute_in_some_files(folder):
    """Timezone Offset From UTC stands in the files of the last frames."""
    scan = Scan()

    def change(d, t, z):
        d.AcquisitionDateTime = d.AcquisitionDate + d.AcquisitionTime
        if t > 2:
            d.TimezoneOffsetFromUTC = "-0500"

    scan.each(change).drop("ContentTime", "AcquisitionTime", "AcquisitionDate").save(folder)
    return as_told(scan, says="(?i)UTC")


@case
def one_frame_an_hour_late(folder):
    """One frame in the middle tells an hour later, by its number and by the moment of making it belongs there."""
    scan = Scan(n_frames=6)

    def change(d, t, z):
        if t == 2:
            d.AcquisitionTime = "11" + d.AcquisitionTime[2:]

    scan.each(change).save(folder)
    return as_told(scan, says="1 h off in 4 of 24 images")


@case
def summer_time_ends(folder):
    """The clock goes back by an hour in the middle of the scan."""
    scan = Scan(n_frames=9)

    def change(d, t, z):
        for name in ("AcquisitionTime", "ContentTime") if t > 3 else ():
            setattr(d, name, "09" + getattr(d, name)[2:])

    scan.each(change).save(folder)
    return as_told(scan, says="AcquisitionTime is 1 h off in 16 of 36 images")


@case
def clock_of_twelve_hours(folder):
    """One o'clock follows twelve, and slices have times of their own."""
    scan = Scan(n_frames=9)
    scan.set_times(scan.times + 0.2 * np.arange(4), start=13 * 3600 - 4.0)

    def change(d, t, z):
        for name in ("AcquisitionTime", "ContentTime"):
            told = getattr(d, name)
            setattr(d, name, f"{(int(told[:2]) - 1) % 12 + 1:02d}{told[2:]}")

    scan.each(change).save(folder)
    return as_told(scan, says="12 h off")


@case
def offsets_in_milliseconds(folder):
    """The offsets of a multi-frame object count milliseconds; dates in whole seconds prove it."""
    scan = Scan(n_frames=6, dt=2.0)

    def per_frame(group, one, t, z):
        content = group.FrameContentSequence[0]
        content.FrameReferenceDateTime = (one.AcquisitionDate + one.AcquisitionTime)[:14]
        group.TemporalPositionSequence = [part(TemporalPositionTimeOffset=1000 * float(scan.times[t, z]))]

    save(enhanced(scan, per_frame=per_frame), within(folder, "multi"))
    return as_told(scan)


@case
def offsets_in_milliseconds_alone(folder):
    """The same without any proof."""
    scan = Scan(n_frames=6, dt=2.0)

    def per_frame(group, one, t, z):
        group.TemporalPositionSequence = [part(TemporalPositionTimeOffset=1000 * float(scan.times[t, z]))]

    save(enhanced(scan, per_frame=per_frame), within(folder, "multi"))
    return Refuses(IncompleteSeriesError, r"2000 s apart.*milliseconds, 2 s")


@case
def second_injection(folder):
    """Two acquisitions of five frames each under one identifier, twelve minutes apart."""
    scan = Scan(n_frames=10)
    scan.set_times(scan.times + np.where(np.arange(10) < 5, 0.0, 720.0)[:, None])
    scan.each(lambda d, t, z: setattr(d, "AcquisitionNumber", 3 if t < 5 else 4)).save(folder)
    return as_told(scan, says="pause of 12")


@case
def trigger_time_in_seconds(folder):
    """Trigger Time in seconds, where the standard has milliseconds, and no other clock."""
    scan = Scan()
    scan.each(lambda d, t, z: setattr(d, "TriggerTime", f"{scan.times[t, z]:.2f}"))
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder)
    return Refuses(IncompleteSeriesError, r"TriggerTime.*--dt S")


@case
def leading_zeros_lost(folder):
    """Past midnight, written 512.250000 for 00:05:12.25."""
    scan = Scan()
    scan.set_times(scan.times, start=312.25)
    scan.each(lambda d, t, z: text(d, 0x00080032, "TM", d.AcquisitionTime.lstrip("0"))).drop("ContentTime").save(folder)
    return as_told(scan)


@case
def five_digits_of_a_time(folder):
    """Half past nine, whole seconds, 93002 for 09:30:02."""
    scan = Scan(dt=2.0)
    scan.set_times(scan.times, start=34200.0)
    scan.each(lambda d, t, z: text(d, 0x00080032, "TM", d.AcquisitionTime[1:6])).drop("ContentTime").save(folder)
    return as_told(scan)


@case
def times_in_words(folder):
    """A time that is none is shown."""
    scan = Scan()
    scan.each(lambda d, t, z: text(d, 0x00080032, "TM", f"10h{t:02d}")).drop("ContentTime").save(folder)
    return Refuses(IncompleteSeriesError, r"AcquisitionTime can't be read .*10h0")


@case
def numbers_backwards_by_halves(folder):
    """No clock; numbers fall within a frame and rise from frame to frame, which is an order."""
    scan = Scan()
    scan.each(lambda d, t, z: (setattr(d, "InstanceNumber", 4 * t + 4 - z), delattr(d, "AcquisitionNumber")))
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder)
    return as_told(scan, options={"dt": 1.5}, says="InstanceNumber")


@case
def numbers_in_no_order(folder):
    """No clock, numbers as the reconstruction finished, and times that the user tells."""
    scan = Scan(n_frames=6)
    order = np.random.default_rng(8).permutation(24)
    scan.each(lambda d, t, z: (setattr(d, "InstanceNumber", int(order[4 * t + z])), delattr(d, "AcquisitionNumber")))
    scan.drop("AcquisitionTime", "AcquisitionDate", "ContentTime", "ContentDate").save(folder)
    return Refuses(IncompleteSeriesError, r"neither slice by slice nor volume by volume", options={"dt": 1.5})
