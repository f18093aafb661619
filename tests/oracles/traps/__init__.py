"""The traps of real CT perfusion data, each written as files, with what a reader must make of it.

A trap takes an empty folder, fills it, and returns ``Reads`` (the exact grid, HU and times) or ``Refuses`` (the error
and words of its message). ``TRAPS`` lists them by name.
"""

from oracles.traps import cells, containers, geometry, multiframe, pixels, series, times
from oracles.traps.trap import TRAPS, Reads, Refuses

__all__ = ["TRAPS", "Reads", "Refuses", "cells", "containers", "geometry", "multiframe", "pixels", "series", "times"]
