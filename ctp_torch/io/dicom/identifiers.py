"""Which images belong to one series by their identifiers, and by time and place where these were drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from statistics import median

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.image import ImageHeader, Join
from ctp_torch.io.dicom.places import slabs, stack
from ctp_torch.io.dicom.times import PAUSE_S, Clock, choose_clock

__all__ = ["Part", "put_together", "side_by_side", "what_differs"]

Part = tuple[list[ImageHeader], tuple[str, ...]]
"""Images of one series, and what was inferred in joining them."""

_IDENTIFIERS: dict[Join, tuple[str, Callable[[ImageHeader], Hashable]]] = {
    "series": ("series", lambda image: image.series),
    "frame-of-reference": ("frames of reference", lambda image: image.frame_of_reference),
    "study": ("studies", lambda image: image.study),
}
_FEWEST_FRAMES = 4
"""From which on even times bear out that pieces of several studies or frames of reference are one scan."""
_STEP_S, _FOLLOWS = 60.0, 3.0
"""The longest usual step of a scan in pieces, and the longest wait between two series of one scan, in steps."""


def put_together(group: Sequence[ImageHeader], join: Join | None = None) -> list[Part]:
    """The images of one measurement by series; pieces that make one scan are joined.

    Series of one time point each are joined where their times are those of a scan, slabs side by side where they are
    seen equally often, and series that go on where another ends. Pieces of several studies or frames of reference are
    joined only where they make a whole grid with the times of a scan.

    Parameters
    ----------
    group
        images of one grid, kernel, thickness and voltage
    join
        identifiers whose differences the user wants overlooked
    """
    if join is not None:
        levels = list(_IDENTIFIERS)
        kept = [_IDENTIFIERS[level][1] for level in levels[levels.index(join) + 1 :]]
        parts = _by(group, lambda image: tuple(key(image) for key in kept))
        return [(images, _joined_note(images)) for images in parts]
    places = _by(group, lambda image: (image.study, image.frame_of_reference))
    if len(places) > 1 and _pieces_of_one_scan(places):
        return [(list(group), _joined_note(group))]
    return [part for images in places for part in _series_of(images)]


def _by(images: Sequence[ImageHeader], key: Callable[[ImageHeader], Hashable]) -> list[list[ImageHeader]]:
    """The images in groups of one key."""
    groups: dict[Hashable, list[ImageHeader]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return list(groups.values())


def _joined_note(images: Sequence[ImageHeader]) -> tuple[str, ...]:
    """How many identifiers of each kind were overlooked."""
    counts = {name: len({key(image) for image in images}) for name, key in _IDENTIFIERS.values()}
    several = [f"{n} {name}" for name, n in counts.items() if n > 1]
    return (f"images of {' and '.join(several)} were joined: by place and time they are one scan",) if several else ()


def _pieces_of_one_scan(pieces: list[list[ImageHeader]]) -> bool:
    """Whether pieces that are no series by themselves fill a grid whose times are those of a scan."""
    if max(len(one) for piece in pieces for one in stack(piece)) > 1:
        return False
    together = stack([image for piece in pieces for image in piece])
    counts = {len(one) for one in together}
    clock = _clock(together)
    return len(counts) == 1 and min(counts) >= _FEWEST_FRAMES and clock is not None and _scans(together, clock)


def _clock(slices: list[list[ImageHeader]]) -> Clock | None:
    """What tells the time of the images; None where nothing does."""
    try:
        return choose_clock(slices)
    except IncompleteSeriesError:
        return None


def _scans(slices: list[list[ImageHeader]], clock: Clock) -> bool:
    """Whether the times of every slice are those of a perfusion scan: steps below a minute, no long wait."""
    steps = [b - a for one in slices for a, b in pairwise(sorted(map(clock.read, one)))]
    return not steps or (median(steps) <= _STEP_S and max(steps) <= PAUSE_S)


def _series_of(group: list[ImageHeader]) -> list[Part]:
    """The images of one study and frame of reference by series, joined as far as they make one scan."""
    by_uid = _by(group, lambda image: image.series)
    if len(by_uid) == 1:
        return [(group, ())]
    single = [images for images in by_uid if max(len(s) for s in stack(images)) == 1]
    dynamic = [images for images in by_uid if max(len(s) for s in stack(images)) > 1]
    joined: list[Part] = []
    together = [image for images in single for image in images]
    slices = stack(together)
    clock = _clock(slices) if len(single) > 1 else None
    if len(single) > 1 and (clock is None or _scans(slices, clock)):
        joined.append((together, (f"{len(single)} series of one time point each were joined",)))
    else:
        joined.extend((images, ()) for images in single)
    if len(dynamic) < 2:
        return joined + [(images, ()) for images in dynamic]
    together = [image for images in dynamic for image in images]
    if side_by_side(dynamic):
        return [*joined, (together, (f"{len(dynamic)} series side by side were joined as slabs",))]
    if _one_after_another(dynamic):
        return [*joined, (together, (f"{len(dynamic)} series that follow each other were joined",))]
    return joined + [(images, ()) for images in dynamic]


def side_by_side(parts: Sequence[list[ImageHeader]]) -> bool:
    """Whether dynamic parts share no slice, have equally many images of each, and make one stack without gap."""
    together = stack([image for part in parts for image in part])
    of = {id(image): k for k, part in enumerate(parts) for image in part}
    counts = {len(images) for images in together}
    disjoint = all(len({of[id(image)] for image in images}) == 1 for images in together)
    return disjoint and len(counts) == 1 and len(slabs(together)) == 1


def _one_after_another(parts: Sequence[list[ImageHeader]]) -> bool:
    """Whether dynamic parts show the same slices, each beginning within a few steps after the one before has ended."""
    together = stack([image for part in parts for image in part])
    if any(len(stack(part)) != len(together) for part in parts):
        return False
    clock = _clock(together)
    if clock is None:
        return False
    steps = [b - a for one in together for a, b in pairwise(sorted(map(clock.read, one)))]
    spans = sorted((min(map(clock.read, part)), max(map(clock.read, part))) for part in parts)
    return all(0 < b[0] - a[1] <= _FOLLOWS * median(steps) for a, b in pairwise(spans))


def what_differs(images: Sequence[ImageHeader]) -> str:
    """Which identifiers set series apart, and the option that overlooks them, in words that name nobody."""
    patients = len({image.patient for image in images})
    if patients > 1:
        return f", of {patients} patients"
    different = [(level, name) for level, (name, key) in _IDENTIFIERS.items() if len({key(i) for i in images}) > 1]
    above = [(level, name) for level, name in different if level != "series"]
    if not above:
        return ""
    names = " and ".join(f"{len({_IDENTIFIERS[level][1](i) for i in images})} {name}" for level, name in above)
    return f", of {names} (if they are one scan, read them together with --join {above[-1][0]})"
