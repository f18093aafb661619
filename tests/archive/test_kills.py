"""Receiver, watcher, worker and sender killed at random moments while studies flow: each ends with one whole result."""

import sys

import pytest

from .campaign import kills
from .conftest import ORTHANC


@pytest.mark.slow  # twenty kills, and a part takes a second to start again
@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)")
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_twenty_kills(tmp_path):
    """``campaign.py kills --studies 20 --kills 100`` is the same at length.

    Meant to catch: cases that ran when their part died left as running.
    """
    figures = kills(tmp_path, studies=4, n_kills=20, seed=3)
    assert figures["with exactly one complete result"] == 4, figures
    assert figures["images"] == figures["images expected"], figures
    assert (figures["rows without a file"], figures["leftovers"]) == (0, []), figures
