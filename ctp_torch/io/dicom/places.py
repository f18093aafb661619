"""Where slices lie: images put into slices by all their places, also of tables that come back a little beside."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ctp_torch.io.dicom.image import ImageHeader
from ctp_torch.io.dicom.select import along_normal
from ctp_torch.io.dicom.times import Clock

__all__ = ["Stack", "one_position", "settle", "slabs", "stack"]

_SAME_PLACE_MM = 0.1
"""Images closer than this along the normal are one slice, whatever the step."""
_BESIDE, _BESIDE_MM = 4.0, 1.0
"""Places closer than this and than a quarter of the step may be one, where that makes all slices equally often seen."""
_WITHIN_PASS = 0.15
"""Of the step: how far a slice may lie beside its place in a stack moved as a whole."""
_REACH = 0.75
"""Of the stack: one moved further is another slab."""
_AGAIN = 0.55
"""Of the step: an image closer to one of the same pass begins the next."""
_TURN = 0.2
"""Of the time between two images of a slice: by which its neighbours are taken before or after it, where passes take
turns."""
_TAKEN = "each was taken for the slice that it is in its pass"

_Slices = list[list[ImageHeader]]


@dataclass(frozen=True)
class Stack:
    """Images by slice, ascending along the normal."""

    slices: _Slices
    notes: tuple[str, ...] = ()
    """What was inferred in putting them there."""


def stack(images: Iterable[ImageHeader]) -> _Slices:
    """The images by position along the normal, ascending.

    Places are one where they lie within 0.1 mm, or so much closer to each other than to all others that only together
    they are seen as often as the rest.
    """
    placed = sorted(((along_normal(image), image) for image in images), key=lambda pair: pair[0])
    fine = _cut(placed, _SAME_PLACE_MM)
    gaps = sorted({b[0] - a[0] for a, b in pairwise(placed) if b[0] - a[0] > 1e-6})
    wider = max(
        (near for near, far in pairwise(gaps) if near > _SAME_PLACE_MM and near <= _BESIDE_MM and far > _BESIDE * near),
        default=None,
    )
    if wider is None:
        return fine
    coarse = _cut(placed, wider)
    counts = [len(one) for one in coarse]
    extent = max(along_normal(one[-1]) - along_normal(one[0]) for one in coarse)
    step = min((along_normal(b[0]) - along_normal(a[-1]) for a, b in pairwise(coarse)), default=0.0)
    return coarse if max(counts) <= median(counts) and 2 * extent < step else fine


def _cut(placed: Sequence[tuple[float, ImageHeader]], same_mm: float) -> _Slices:
    """Images sorted by place cut into slices where the next one lies further away."""
    slices: _Slices = []
    last = 0.0
    for place, image in placed:
        if slices and place - last <= same_mm:
            slices[-1].append(image)
        else:
            slices.append([image])
        last = place
    return slices


def settle(slices: _Slices, clock: Clock) -> Stack:
    """The slices of a stack that came back elsewhere in some passes, put together by their rank in each pass.

    Images in the order of time are cut into passes where a place comes again. Passes with the usual number of slices
    that are the first one moved as a whole, by less than three quarters of the stack, show the same slices; where the
    table went is for the grid to make up for. A stack that comes back to its places is left as it is, and so are passes
    that take turns in leaving gaps which the others fill.

    Parameters
    ----------
    slices
        by position
    clock
        tells the time of an image, or its place in an order
    """
    beside = max(along_normal(one[-1]) - along_normal(one[0]) for one in slices)
    notes = (f"places of one slice lie up to {beside:.2f} mm apart: {_TAKEN}",) if beside > _SAME_PLACE_MM else ()
    if _frame_by_frame(slices, clock) or _interleaved(slices, clock):
        return Stack(slices, notes)
    events = sorted(
        (clock.read(image), along_normal(image), image.uid, id(image), image) for s in slices for image in s
    )
    passes = _passes([(place, image) for _, place, _, _, image in events])
    usual = Counter(map(len, passes)).most_common(1)[0][0]
    home = next([place for place, _ in own] for own in passes if len(own) == usual)
    if usual < 2 or len(passes) < 2:
        return Stack(slices, notes)
    step = median([b - a for a, b in pairwise(home)])
    ranked: _Slices = [[] for _ in home]
    furthest = 0.0
    for own in passes:
        ranks = _ranks([place for place, _ in own], home, step)
        if ranks is None:
            return Stack(slices, notes)
        for rank, (place, image) in zip(ranks, own, strict=True):
            ranked[rank].append(image)
            furthest = max(furthest, abs(place - home[rank]))
    if furthest <= _SAME_PLACE_MM:
        return Stack(slices)
    return Stack(ranked, (f"passes of the table stop up to {furthest:.2f} mm beside each other: {_TAKEN}",))


def _frame_by_frame(slices: _Slices, clock: Clock) -> bool:
    """Whether the images of a frame all lie close in time, and far from those of the next: no place takes turns."""
    rows = [sorted(map(clock.read, images)) for images in slices]
    if len({len(row) for row in rows}) > 1:
        return False
    frames = [(min(own), max(own)) for own in zip(*rows, strict=True)]
    return all(2 * (a[1] - a[0]) <= b[0] - a[1] for a, b in pairwise(frames))


def _interleaved(slices: _Slices, clock: Clock) -> bool:
    """Whether neighbouring slices were taken in different passes, again and again: half of the volume at a time.

    Slices lie at even steps of their own thickness then, each is seen as often as the others, from the begin of the
    scan to its end, and a pass leaves out the neighbours of those it takes.
    """
    counts, thickness = list(map(len, slices)), slices[0][0].thickness
    if len(slices) < 4 or max(counts) - min(counts) > 1 or min(counts) < 3 or not thickness:
        return False
    places = [along_normal(one[0]) for one in slices]
    steps = [b - a for a, b in pairwise(places)]
    if max(abs(step - thickness) for step in steps) > _WITHIN_PASS * thickness:
        return False
    times = [sorted(map(clock.read, one)) for one in slices]
    usual = median([b - a for own in times for a, b in pairwise(own)])
    apart = [min(abs(b - a) for a in own for b in other) for own, other in pairwise(times)]
    return min(apart) > _TURN * usual and max(own[0] for own in times) < min(own[-1] for own in times)


def _passes(ordered: Sequence[tuple[float, ImageHeader]]) -> list[list[tuple[float, ImageHeader]]]:
    """Images in the order of time cut where a place comes again; each pass ascending."""
    moves = [abs(b[0] - a[0]) for a, b in pairwise(ordered)]
    moved = [move for move in moves if move > _SAME_PLACE_MM]
    again = _AGAIN * median(moved) if moved else _SAME_PLACE_MM
    passes: list[list[tuple[float, ImageHeader]]] = [[]]
    bins: dict[int, float] = {}  # of the pass so far: its places, no two closer than ``again``
    for place, image in ordered:
        k = math.floor(place / again)
        if any(abs(place - bins.get(j, math.inf)) < again for j in (k - 1, k, k + 1)):
            passes.append([])
            bins = {}
        bins[k] = place
        passes[-1].append((place, image))
    return [sorted(own, key=lambda pair: pair[0]) for own in passes]


def _ranks(places: Sequence[float], home: Sequence[float], step: float) -> list[int] | None:
    """Which slice of the first pass each image of another shows; None where it is no such pass."""
    if len(places) == len(home):
        moves = [a - b for a, b in zip(places, home, strict=True)]
        usual = median(moves)
        if max(abs(move - usual) for move in moves) <= _WITHIN_PASS * step:
            return list(range(len(home))) if abs(usual) < _REACH * (home[-1] - home[0] + step) else None
    ranks = [min(range(len(home)), key=lambda k: abs(home[k] - place)) for place in places]
    near = all(abs(home[rank] - place) <= _SAME_PLACE_MM for rank, place in zip(ranks, places, strict=True))
    return ranks if near else None


def one_position(slices: _Slices) -> str:
    """Why a stack can't be: images that tell one position although Slice Location says that they lie apart.

    Slice Location alone is no evidence, for some scanners write anything there; but values that take turns within what
    should be one slice, each again and again, are places.
    """
    for images in slices:
        told = [image.slice_location for image in sorted(images, key=_in_time)]
        values = [value for value in told if value is not None]
        counts = Counter(round(value, 2) for value in values)
        if len(values) < len(images) or len(counts) < 2 or min(counts.values()) < 2:
            continue
        turns = sum(abs(a - b) > _SAME_PLACE_MM for a, b in pairwise(values))
        if turns > 2 * (len(counts) - 1) and max(counts) - min(counts) > 2 * _SAME_PLACE_MM:
            return (
                f"{len(images)} images tell one position ({along_normal(images[0]):.1f} mm along the normal) although"
                f" Slice Location puts them at {len(counts)} places: Image Position was lost; export the series again"
            )
    return ""


def _in_time(image: ImageHeader) -> tuple[float, float]:
    """A rough order of images: by any moment they tell, then by number."""
    return next(iter(image.moments.values()), 0.0), image.orders.get("InstanceNumber", 0.0)


def slabs(slices: _Slices) -> list[_Slices]:
    """The stack cut where whole slices are wanting: a step of 2, 3 ... times the usual one, or of any 3 times.

    A step that slices fill by their own thickness is none: stacks of thin slices at the base and thick ones above.
    """
    places = [along_normal(images[0]) for images in slices]
    steps = [b - a for a, b in pairwise(places)]
    if len(steps) < 2:
        return [slices]
    usual = median(steps)
    thick = [images[0].thickness or 0.0 for images in slices]
    filled = [(a + b) / 2 * 1.05 if min(thick) < max(thick) else 0.0 for a, b in pairwise(thick)]
    cuts = [
        k + 1
        for k, step in enumerate(steps)
        if (step > 3 * usual or (step > 1.5 * usual and abs(step / usual - round(step / usual)) < 0.05))
        and step > filled[k]
    ]
    if not cuts or 3 * len(cuts) > len(steps):
        return [slices]
    edges = [0, *cuts, len(slices)]
    return [slices[a:b] for a, b in pairwise(edges)]
