"""What could be meant: images of one grid put together to series, split where one identifier holds several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ctp_torch.errors import IncompleteSeriesError, NoSeriesError
from ctp_torch.io.dicom.index import ImageHeader
from ctp_torch.io.dicom.select import along_normal, grids
from ctp_torch.io.dicom.terms import kernel_term

__all__ = ["Candidate", "candidates", "choose", "stack"]

_SAME_PLACE_MM = 0.1
"""Images closer than this along the normal are one slice."""

_Slices = list[list[ImageHeader]]


@dataclass(frozen=True)
class Candidate:
    """Images that could be one series."""

    key: str
    """What ``series=`` takes: the Series Instance UID, with ``#2`` where that UID holds several."""
    slices: _Slices
    """Ascending along the normal; each slice with its images in no order."""
    notes: tuple[str, ...]
    """What was inferred in putting it together."""

    @property
    def images(self) -> list[ImageHeader]:
        """All images."""
        return [image for images in self.slices for image in images]

    @property
    def n_frames(self) -> int:
        """Most images of any slice."""
        return max(len(images) for images in self.slices)

    def describe(self) -> str:
        """One line for a person who has to choose."""
        first, last = self.slices[0][0], self.slices[-1][0]
        parts = [f"{len(self.slices)} slices x {self.n_frames} times", f"{first.pixels.columns} x {first.pixels.rows}"]
        if first.series_number is not None:
            parts.insert(0, f"series {first.series_number}")
        if first.kernel:
            parts.append(f"kernel {kernel_term(first.kernel)}")
        if first.thickness:
            parts.append(f"{first.thickness:g} mm thick")
        if first.kvp:
            parts.append(f"{first.kvp:g} kV")
        parts.append(f"positions {along_normal(first):.1f} to {along_normal(last):.1f} mm")
        return ", ".join(parts)


def candidates(images: Iterable[ImageHeader]) -> list[Candidate]:
    """All series that the images could make, those with most time points first."""
    series: list[tuple[str, _Slices, tuple[str, ...]]] = []
    for group in grids(images):
        for members, notes in _series_of(group):
            slabs = _slabs(stack(members))
            gap = (f"one of {len(slabs)} slabs with a gap between",) if len(slabs) > 1 else ()
            series.extend((members[0].series, slab, (*notes, *gap)) for slab in slabs)
    series.sort(key=lambda one: -max(len(images) for images in one[1]))
    uids = [uid for uid, _, _ in series]
    return [
        Candidate(uid if uids.count(uid) == 1 else f"{uid}#{uids[:k].count(uid) + 1}", slices, notes)
        for k, (uid, slices, notes) in enumerate(series)
    ]


def choose(choices: list[Candidate], series: str | None) -> Candidate:
    """The candidate asked for, or the only one with several time points.

    Raises
    ------
    NoSeriesError
        when there is none, or none of that name
    IncompleteSeriesError
        when several could be meant
    """
    listing = "\n".join(f"  --series {c.key}\n    {c.describe()}" + "".join(f", {n}" for n in c.notes) for c in choices)
    if series is not None:
        exact = [c for c in choices if c.key == series] or [c for c in choices if c.key.split("#")[0] == series]
        if len(exact) == 1:
            return exact[0]
        if exact:
            raise IncompleteSeriesError(f"--series {series} holds {len(exact)} series; choose one of\n{listing}")
        raise NoSeriesError(f"there is no series {series}" + (f"; there are\n{listing}" if listing else ""))
    dynamic = [c for c in choices if c.n_frames > 1] or choices
    if len(dynamic) > 1:
        raise IncompleteSeriesError(f"{len(dynamic)} series could be meant; choose one of\n{listing}")
    return dynamic[0]


def stack(images: Iterable[ImageHeader]) -> _Slices:
    """The images by position along the normal, ascending."""
    slices: _Slices = []
    last = 0.0
    for place, image in sorted(((along_normal(image), image) for image in images), key=lambda pair: pair[0]):
        if slices and place - last <= _SAME_PLACE_MM:
            slices[-1].append(image)
        else:
            slices.append([image])
        last = place
    return slices


def _series_of(group: list[ImageHeader]) -> list[tuple[list[ImageHeader], tuple[str, ...]]]:
    """The images of one grid by series; series of one time point each are joined, and so are slabs side by side."""
    by_uid: dict[str, list[ImageHeader]] = {}
    for image in group:
        by_uid.setdefault(image.series, []).append(image)
    if len(by_uid) == 1:
        return [(group, ())]
    single = [images for images in by_uid.values() if max(len(s) for s in stack(images)) == 1]
    dynamic = [images for images in by_uid.values() if max(len(s) for s in stack(images)) > 1]
    joined: list[tuple[list[ImageHeader], tuple[str, ...]]] = []
    if len(single) > 1:
        together = [image for images in single for image in images]
        joined.append((together, (f"{len(single)} series of one time point each were joined",)))
    else:
        joined.extend((images, ()) for images in single)
    if len(dynamic) > 1 and _side_by_side(dynamic):
        together = [image for images in dynamic for image in images]
        joined.append((together, (f"{len(dynamic)} series side by side were joined as slabs",)))
    else:
        joined.extend((images, ()) for images in dynamic)
    return joined


def _side_by_side(series: list[list[ImageHeader]]) -> bool:
    """Whether dynamic series share no slice, have equally many images of each, and make one stack without gap."""
    together = stack([image for images in series for image in images])
    counts = {len(images) for images in together}
    disjoint = all(len({image.series for image in images}) == 1 for images in together)
    return disjoint and len(counts) == 1 and len(_slabs(together)) == 1


def _slabs(slices: _Slices) -> list[_Slices]:
    """The stack cut where whole slices are wanting: a step of 2, 3 ... times the usual one, or of any 3 times."""
    places = [along_normal(images[0]) for images in slices]
    steps = [b - a for a, b in pairwise(places)]
    if len(steps) < 2:
        return [slices]
    usual = median(steps)
    cuts = [
        k + 1
        for k, step in enumerate(steps)
        if step > 3 * usual or (step > 1.5 * usual and abs(step / usual - round(step / usual)) < 0.05)
    ]
    if not cuts or 3 * len(cuts) > len(steps):
        return [slices]
    edges = [0, *cuts, len(slices)]
    return [slices[a:b] for a, b in pairwise(edges)]
