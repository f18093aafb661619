"""Which pixels train and which test: spread evenly over patients and slices, without replacement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctp_torch.errors import CTPError, check_type

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["allocate", "sample_pixels"]

_LATE_SHARE = 2 / 3
"""Of the pixels, where late tissue is to count for more than it covers."""


def allocate(available: Sequence[int], n_samples: int) -> list[int]:
    """How many samples each cell (one slice of one patient) gives: equal shares that differ by at most one.

    The remainder goes to the later cells (25,000 over 180 cells: the first 20 give 138, the other 160 give 139). A cell
    with fewer pixels than its share gives all it has, and the others share what is missing.

    Parameters
    ----------
    available
        number of valid pixels in each cell
    n_samples
        how many samples are wanted in all

    Returns
    -------
        samples per cell; they add up to ``n_samples``

    Raises
    ------
    CTPError
        if the cells hold fewer than ``n_samples`` pixels
    """
    if sum(available) < n_samples:
        raise CTPError(
            f"{n_samples:,} samples were asked for, but the {len(available)} slices hold only {sum(available):,} valid "
            "pixels; ask for fewer (--samples) or give more patients"
        )
    shares = [0] * len(available)
    open_cells = list(range(len(available)))
    missing = n_samples
    while missing:
        share, extra = divmod(missing, len(open_cells))
        for rank, cell in enumerate(open_cells):
            full = share + (rank >= len(open_cells) - extra)
            given = min(full, available[cell] - shares[cell])
            shares[cell] += given
            missing -= given
        open_cells = [cell for cell in open_cells if shares[cell] < available[cell]]
    return shares


def sample_pixels(
    valid: Sequence[Tensor], n_samples: int, *, seed: int = 0, late: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Pixels drawn without replacement, spread evenly over patients and their slices.

    Where ``late`` is given, two thirds of them lie where it is true (all that there are, if they are fewer) and the
    others where it isn't, each spread evenly on their own: drawn evenly, few pixels are late, and what a model learns
    of them shrinks towards the others.

    Parameters
    ----------
    valid
        one ``(z, y, x)`` bool volume per patient: where a pixel may be drawn (the scan is non-zero and the map is not
        background)
    n_samples
        how many pixels to draw in all
    seed
        of the draw; the same seed and masks give the same pixels
    late
        one ``(z, y, x)`` bool volume per patient: where tissue is late

    Returns
    -------
        one ``(samples,)`` int64 tensor per patient: flat indices into the ``(z, y, x)`` volume, in random order within
        each slice

    Raises
    ------
    CTPError
        if there are fewer valid pixels than ``n_samples``
    """
    import torch

    check_type(valid, Sequence, "sample_pixels: valid", "a list with one (z, y, x) mask a patient")
    for volume in valid:
        check_type(volume, torch.Tensor, "sample_pixels: valid[...]", "a (z, y, x) mask")
    if late is not None:
        slow = [volume & where for volume, where in zip(valid, late, strict=True)]
        n_slow = min(round(n_samples * _LATE_SHARE), sum(int(volume.sum()) for volume in slow))
        rest = [volume & ~where for volume, where in zip(valid, late, strict=True)]
        both = sample_pixels(slow, n_slow, seed=seed), sample_pixels(rest, n_samples - n_slow, seed=seed + 1)
        return [torch.cat(pair) for pair in zip(*both, strict=True)]
    generator = torch.Generator().manual_seed(seed)
    counts = [volume.flatten(1).sum(dim=1).tolist() for volume in valid]
    shares = iter(allocate([count for patient in counts for count in patient], n_samples))
    chosen = []
    for volume in valid:
        parts = []
        for z, image in enumerate(volume.cpu()):
            pixels = image.flatten().nonzero().squeeze(1)  # (pixels,)
            order = torch.randperm(len(pixels), generator=generator)[: next(shares)]
            parts.append(pixels[order] + z * image.numel())
        chosen.append(torch.cat(parts))
    return chosen
