"""When an image was taken: every answer its header gives, in seconds, under the name of its source."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctp_torch.io.dicom.lookup import Lookup

__all__ = ["ORDER_SOURCES", "TIME_SOURCES", "orders", "seconds_of_datetime", "seconds_of_day", "times_told"]

TIME_SOURCES = (
    "FrameReferenceDateTime",
    "FrameAcquisitionDateTime",
    "TemporalPositionTimeOffset",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "GE MidScanTime",
    "GE DeltaStartTime",
    "ContentTime",
    "SeriesTime",
)
"""Best first."""
ORDER_SOURCES = ("TemporalPositionIndex", "Canon VolumeNumber", "AcquisitionNumber", "InstanceNumber")
"""Numbers that sort images without telling seconds, best first."""

_EPOCH = date(2000, 1, 1).toordinal()  # near enough that a float64 holds microseconds
_TM = re.compile(r"^(\d{2}):?(\d{2})?:?(\d{2})?(?:[.,](\d+))?$")
_DT = re.compile(r"^(\d{4})(\d{2})(\d{2})(\d{2}[\d:.]*)([+-]\d{4})?$")


def times_told(get: Lookup) -> tuple[dict[str, float], dict[str, float]]:
    """All times the image tells [s], and the offsets from UTC [s] that were taken off them.

    Absolute times count from 2000, or from midnight where no date is told.
    """
    common = get.text("TimezoneOffsetFromUTC")
    times: dict[str, float | None] = {}
    zones: dict[str, float] = {}
    for name in ("FrameReferenceDateTime", "FrameAcquisitionDateTime", "AcquisitionDateTime"):
        text = get.text(name)
        if not text:
            continue
        seconds = seconds_of_datetime(text, _zone(common) if common else 0.0)
        times[name] = _read(get, name, seconds, text)
        offset = text[-5:] if text[-5:-4] in ("+", "-") else common
        if offset:
            zones[name] = _zone(offset)
    for name in ("Acquisition", "Content", "Series"):
        text = get.text(f"{name}Time")
        if text:
            seconds = _date_and_time(get.text(f"{name}Date"), text)
            seconds = seconds_of_datetime(text) if seconds is None else seconds  # a date and time where a time belongs
            times[f"{name}Time"] = _read(get, f"{name}Time", seconds, text)
    times["TemporalPositionTimeOffset"] = get.number("TemporalPositionTimeOffset")
    trigger = get.number("TriggerTime")
    times["TriggerTime"] = None if trigger is None else trigger / 1000  # ms
    index, resolution = get.number("TemporalPositionIdentifier"), get.number("TemporalResolution")
    if index is not None and resolution:
        times["TemporalPositionIdentifier"] = index * resolution / 1000  # ms
    times["GE MidScanTime"] = _private(get, 0x0019, "GEMS_ACQU_01", 0x24)
    times["GE DeltaStartTime"] = _private(get, 0x0043, "GEMS_PARM_01", 0x1E)
    return {name: value for name, value in times.items() if value is not None}, zones


def _read(get: Lookup, name: str, seconds: float | None, text: str) -> float | None:
    """The seconds; where there are none, the text is kept to be shown."""
    if seconds is None:
        from ctp_torch.io.dicom.lookup import shown

        get.unreadable[name] = shown(text)
    return seconds


def orders(get: Lookup) -> dict[str, float]:
    """All numbers that put the image in order among those of its slice."""
    numbers = {
        "TemporalPositionIndex": get.number("TemporalPositionIndex") or get.number("TemporalPositionIdentifier"),
        "Canon VolumeNumber": _private(get, 0x7005, "TOSHIBA_MEC_CT3", 0x1F),
        "AcquisitionNumber": get.number("AcquisitionNumber"),
        "InstanceNumber": get.number("InstanceNumber"),
    }
    return {name: value for name, value in numbers.items() if value is not None}


def seconds_of_day(text: str) -> float | None:
    """Seconds since midnight of a DICOM time ``HHMMSS.FFFFFF`` (or ``HH:MM:SS``), None when it is none.

    A fraction follows the seconds alone, so that digits lacking before it are leading zeros, as spreadsheets lose them;
    and so is the sixth of five.
    """
    text = text.strip()
    digits, point, fraction = text.partition(".")
    if digits.isdigit() and (len(digits) == 5 or (point and 0 < len(digits) < 6)):
        text = digits.zfill(6) + point + fraction
    match = _TM.match(text)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction or 0}")


def seconds_of_datetime(text: str, zone: float = 0.0) -> float | None:
    """Seconds since 2000 (UTC) of a DICOM date-time ``YYYYMMDDHHMMSS.FFFFFF&ZZXX``; no hour, no answer.

    Parameters
    ----------
    text
        the value
    zone
        offset from UTC [s] where the value tells none
    """
    match = _DT.match(text.strip())
    if match is None:
        return None
    year, month, day, time, offset = match.groups()
    seconds = _date_and_time(year + month + day, time)
    return None if seconds is None else seconds - (_zone(offset) if offset else zone)


def _zone(text: str) -> float:
    """Seconds east of UTC of ``+HHMM``."""
    match = re.match(r"^([+-])(\d{2})(\d{2})$", text.strip())
    if match is None:
        return 0.0
    sign, hours, minutes = match.groups()
    return (int(hours) * 3600 + int(minutes) * 60) * (-1.0 if sign == "-" else 1.0)


def _date_and_time(day: str, time: str) -> float | None:
    """Seconds since 2000, or since midnight when the date is missing."""
    seconds = seconds_of_day(time)
    if seconds is None:
        return None
    digits = day.replace(".", "").replace("-", "")
    try:
        day_number = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal() if digits else _EPOCH
    except ValueError:
        day_number = _EPOCH
    return (day_number - _EPOCH) * 86400.0 + seconds


def _private(get: Lookup, group: int, creator: str, offset: int) -> float | None:
    """A private number."""
    from ctp_torch.io.dicom.lookup import as_number

    return as_number(get.private(group, creator, offset))
