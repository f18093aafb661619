"""Other people's scans: what scanners, archives and anonymisers do to a series, and what a reader must make of it.

As the traps: a case fills an empty folder and returns ``Reads`` or ``Refuses``. ``FOREIGN`` lists them by name, and
each name begins with the axis of the series that it is about.
"""

from oracles.foreign import containers, images, slices, times, values
from oracles.foreign.case import FOREIGN

__all__ = ["FOREIGN", "containers", "images", "slices", "times", "values"]
