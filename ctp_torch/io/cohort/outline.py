"""Pictures that tell no position put in order by the outline of the head in the CT, slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctp_torch.errors import IncompleteSeriesError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["order_of_slices"]

_CLEAR = 0.01
"""Mean Dice overlap by which one order must fit better than another."""
_RIMS = 4
"""Pixels by which the maps' own mask may be narrower than the brain."""
_FIT = 0.7
"""Mean Dice overlap below which a picture shows another head."""


def order_of_slices(pictures: Tensor, baseline: Tensor, spacing: tuple[float, float, float]) -> tuple[list[int], str]:
    """Which picture shows each slice of the CT, and a sentence where that isn't the order given.

    The overlap (Dice) of what each picture shows with the brain and the head of each CT slice is summed along the
    order given, along its reverse, and along the best of all orders.

    Parameters
    ----------
    pictures
        ``(z, y, x, 3)`` uint8, in the order of their numbers
    baseline
        ``(z, y, x)`` [HU], the CT
    spacing
        z, y, x [mm]

    Raises
    ------
    IncompleteSeriesError
        when the outlines fit two orders alike, or none
    """
    import torch
    from scipy.optimize import linear_sum_assignment

    from ctp_torch import ops

    head = ops.head_mask(baseline, spacing)
    brain = ops.brain_mask(baseline, spacing) & head
    rims = [k * spacing[2] for k in range(_RIMS)]  # others draw the edge of the brain further in
    outlines = [head, *(ops.erode(brain, mm, (2 * mm, *spacing[1:])) if mm else brain for mm in rims)]
    if len(pictures) < 2:
        return list(range(len(pictures))), ""
    if not bool(brain.any()):
        raise IncompleteSeriesError("the CT shows no head to order its maps by; export maps that tell their positions")
    shown = _shown(pictures)
    # by the whole volume, which no order changes: one slice's rim may look like the next slice
    outline = min(outlines, key=lambda one: abs(int(one.sum()) - int(shown.sum())))
    overlap = _dice(shown, outline)  # (pictures, slices)
    n = len(overlap)
    orders = {
        "as they are numbered": list(range(n)),
        "in the reverse of their numbers": list(range(n))[::-1],
        "in another order than their numbers": linear_sum_assignment(overlap.T.numpy(), maximize=True)[1].tolist(),
    }
    fit = {name: float(overlap[order, torch.arange(n)].mean()) for name, order in orders.items()}
    (given, reverse, best) = fit.values()
    undecided = best < _FIT or (abs(given - reverse) < _CLEAR and best < max(given, reverse) + _CLEAR)
    chosen = "as they are numbered" if given >= reverse else "in the reverse of their numbers"
    if best > fit[chosen] + _CLEAR:
        chosen = "in another order than their numbers"
        undecided = undecided or _least_loss(overlap, orders[chosen]) < _CLEAR
    if undecided:
        raise IncompleteSeriesError(
            "these pictures tell no position, and the outlines of the head don't decide their order (overlap with the"
            f" CT {given:.2f} as numbered, {reverse:.2f} reversed, {best:.2f} at best): export maps that tell their"
            " positions"
        )
    if chosen == "as they are numbered":
        return orders[chosen], ""
    return orders[chosen], (
        f"the pictures tell no position; by the outlines of the head they lie {chosen} (overlap with the CT"
        f" {fit[chosen]:.2f}, as numbered {given:.2f})"
    )


def _shown(pictures: Tensor) -> Tensor:
    """Where the pictures show the head ``(z, y, x)``: the largest coloured part; words are grey, legends apart."""
    from ctp_torch import ops

    colored = pictures.amax(dim=-1) != pictures.amin(dim=-1)
    seen = colored if bool(colored.any()) else pictures.amax(dim=-1) > 0
    return ops.fill_holes(ops.largest_component(seen))


def _least_loss(overlap: Tensor, order: list[int]) -> float:
    """What swapping two pictures of an order costs in overlap, at the least."""
    fit = overlap[order]  # (slices in order, slices)
    own = fit.diagonal()
    loss = own[:, None] + own - fit - fit.T
    loss.fill_diagonal_(float("inf"))
    return float(loss.min())


def _dice(shown: Tensor, outline: Tensor) -> Tensor:
    """Overlap ``(pictures, slices)`` of each picture with each slice."""
    import torch

    a, b = shown.flatten(1).double(), outline.flatten(1).double()
    both = a.sum(dim=1)[:, None] + b.sum(dim=1)
    return torch.where(both > 0, 2 * (a @ b.T) / both.clamp(min=1), 1.0)
