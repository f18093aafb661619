"""Dates and times as DICOM writes them."""

import pytest

from ctp_torch.io.dicom.moments import seconds_of_datetime, seconds_of_day

DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("000000", 0.0),
        ("235959.999999", 86399.999999),
        ("101112.5", 36672.5),
        ("1011", 36660.0),
        ("10", 36000.0),
        ("10:11:12", 36672.0),
        (" 101112.25 ", 36672.25),
        ("", None),
        ("noon", None),
        ("1", None),
    ],
)
def test_times_of_day(text, seconds):
    assert seconds_of_day(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize(
    ("text", "zone", "seconds"),
    [
        ("20000101000000", 0, 0.0),
        ("20000102000000.25", 0, DAY + 0.25),
        ("20000101060000+0530", 0, 1800.0),
        ("19991231190000-0500", 0, 0.0),
        ("20000101060000", 3600, 5 * 3600.0),
        ("20000101060000+0000", 3600, 6 * 3600.0),
        ("20000101", 0, None),
        ("2000", 0, None),
        ("", 0, None),
    ],
)
def test_moments(text, zone, seconds):
    """Mutation seen red: the sign of the offset turned round."""
    assert seconds_of_datetime(text, zone) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


def test_microseconds_survive_in_our_century():
    first = seconds_of_datetime("20261122101112.123456")
    assert seconds_of_datetime("20261122101112.123457") - first == pytest.approx(1e-6, abs=3e-7)
