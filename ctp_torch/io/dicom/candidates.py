"""What could be meant: images of one grid put together to series, split where one identifier holds several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ctp_torch.errors import IncompleteSeriesError, NoSeriesError
from ctp_torch.io.dicom.identifiers import Part, put_together, side_by_side, what_differs
from ctp_torch.io.dicom.image import ImageHeader, Join
from ctp_torch.io.dicom.places import Stack, one_position, settle, slabs, stack
from ctp_torch.io.dicom.select import alike_but_for_thickness, along_normal, grids, measurements
from ctp_torch.io.dicom.terms import kernel_term
from ctp_torch.io.dicom.times import Clock, choose_clock

__all__ = ["Candidate", "candidates", "choose", "stack"]

_MOST_LISTED = 8
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
    refusal: str = ""
    """Why it can't be read."""
    clock: Clock | None = None
    """What tells its times, where a source does so whatever the user tells."""

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


def candidates(images: Iterable[ImageHeader], *, join: Join | None = None) -> list[Candidate]:
    """All series that the images could make, those with most time points first.

    Parameters
    ----------
    images
        those that measure CT numbers
    join
        identifiers whose differences don't separate: those of series; of frames of reference too; or of studies too
    """
    made: list[Candidate] = []
    for group in grids(images):
        for members, notes in _side_by_side([one for same in measurements(group) for one in put_together(same, join)]):
            told = stack(members)
            lost = one_position(told)
            clock = _any_clock(told)
            whole = Stack(told) if lost or clock is None else settle(told, clock)
            cut = slabs(whole.slices)
            gap = (f"one of {len(cut)} slabs with a gap between",) if len(cut) > 1 else ()
            same = clock is not None and clock.evidence and whole.slices is told and len(cut) == 1
            remarks = (*notes, *whole.notes, *gap)
            kept = clock if same else None
            made.extend(Candidate(members[0].series, slab, remarks, lost, kept) for slab in cut)
    made.sort(key=lambda one: -one.n_frames)
    uids = [one.key for one in made]
    return [
        one if uids.count(one.key) == 1 else replace(one, key=f"{one.key}#{uids[:k].count(one.key) + 1}")
        for k, one in enumerate(made)
    ]


def _any_clock(slices: _Slices) -> Clock | None:
    """What orders the images, for finding passes; None for single images and where nothing does."""
    if max(len(images) for images in slices) == 1:
        return None
    try:
        return choose_clock(slices, order_only=True)
    except IncompleteSeriesError:
        return None


def _side_by_side(parts: list[Part]) -> list[Part]:
    """The parts, those of several thicknesses that lie above each other as one stack."""
    dynamic = [part for part in parts if max(len(one) for one in stack(part[0])) > 1]
    if len(dynamic) < 2 or not all(alike_but_for_thickness(dynamic[0][0][0], part[0][0]) for part in dynamic):
        return parts
    if not side_by_side([part[0] for part in dynamic]):
        return parts
    note = f"slices of {len(dynamic)} thicknesses lie above each other: read as one stack"
    together = [image for members, _ in dynamic for image in members]
    return [part for part in parts if part not in dynamic] + [(together, (note,))]


def choose(choices: list[Candidate], series: str | None) -> Candidate:
    """The candidate asked for, or the only one with several time points.

    Raises
    ------
    NoSeriesError
        when there is none, or none of that name
    IncompleteSeriesError
        when several could be meant
    """
    lines = [f"  --series {c.key}\n    {c.describe()}" + "".join(f", {n}" for n in c.notes) for c in choices]
    listing = "\n".join(lines if len(lines) <= _MOST_LISTED else [*lines[:2], f"  ... and {len(lines) - 2} more"])
    if series is not None:
        exact = [c for c in choices if c.key == series] or [c for c in choices if c.key.split("#")[0] == series]
        if len(exact) == 1:
            return _sound(exact[0])
        if exact:
            raise IncompleteSeriesError(f"--series {series} holds {len(exact)} series; choose one of\n{listing}")
        raise NoSeriesError(f"there is no series {series}" + (f"; there are\n{listing}" if listing else ""))
    dynamic = [c for c in choices if c.n_frames > 1] or choices
    if len(dynamic) > 1:
        alone = "" if dynamic[0].n_frames > 1 else "no perfusion series: "
        kind = "" if dynamic[0].n_frames > 1 else ", each of single volumes or images"
        different = what_differs([c.slices[0][0] for c in dynamic])
        raise IncompleteSeriesError(
            f"{alone}{len(dynamic)} series could be meant{kind}{different}; choose one of\n{listing}"
        )
    return _sound(dynamic[0])


def _sound(candidate: Candidate) -> Candidate:
    """The candidate, unless its places were lost."""
    if candidate.refusal:
        raise IncompleteSeriesError(candidate.refusal)
    return candidate
