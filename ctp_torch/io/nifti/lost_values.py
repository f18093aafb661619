"""Series with values that are no numbers, and what to put in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["fill_lost"]

AIR_HU = -1000.0


def fill_lost(hu: Tensor) -> tuple[Tensor, str]:
    """The series without NaN and infinity, and a sentence on what was lost; empty when nothing was.

    Where some frames of a pixel are lost, they are interpolated linearly between its others in order (the ends
    repeat the nearest); a pixel lost in all frames is air, -1000 HU, which no mask takes for tissue.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU], floating point; left as it is
    """
    lost = ~hu.isfinite()
    anywhere = lost.any(dim=0)  # (z, y, x)
    if not bool(anywhere.any()):
        return hu, ""
    values, known = hu[:, anywhere], ~lost[:, anywhere]  # (time, pixels)
    n = len(values)
    frame = torch.arange(n, device=hu.device)[:, None].expand_as(values)
    before = torch.where(known, frame, -1).cummax(dim=0).values
    after = torch.where(known, frame, n).flip(0).cummin(dim=0).values.flip(0)
    first, last = before.clamp(min=0), after.clamp(max=n - 1)
    left = values.gather(0, torch.where(before >= 0, first, last))
    right = values.gather(0, torch.where(after < n, last, first))
    share = (frame - before) / (after - before).clamp(min=1)
    between = torch.where(
        (before >= 0) & (after < n), left + share * (right - left), torch.where(before < 0, right, left)
    )
    never = ~known.any(dim=0)
    filled = hu.clone()
    filled[:, anywhere] = torch.where(known, values, torch.where(never, AIR_HU, between))
    summary = f"{int(anywhere.sum())} pixel(s) hold NaN or infinity"
    partly = int((~never).sum())
    parts = [
        f"{partly} in some frames, interpolated from the others" if partly else "",
        f"{int(never.sum())} in every frame, read as air" if bool(never.any()) else "",
    ]
    return filled, f"{summary}: {'; '.join(part for part in parts if part)}"
