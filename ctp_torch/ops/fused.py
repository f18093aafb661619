"""Blocks of a kernel matrix times a few columns: in one pass by compiled loops, or in several by torch.

Columns of weights and of products are rows here, (columns, samples), so that each is contiguous.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.compiled import fused_library

__all__ = ["add_growth_products", "add_power_products", "add_tile_products"]

_LN_2 = 0.6931471805599453
_SMALL = 0.36  # exponent up to which a short series is quicker than powers, and exact to the last digit


def add_growth_products(across: Tensor, t: Tensor, P: Tensor, *, largest: float, spare: Tensor) -> None:
    """``across += P (2^t - 1)'``, rounded at the scale of the small ``2^t - 1`` where the loops are compiled.

    Parameters
    ----------
    across
        (columns, rows), float64
    t
        (rows, m), float32, contiguous, within +-126; may be overwritten
    P
        (columns, m), float32
    largest
        bound of ``|t|``
    spare
        float32 memory for rows * m values
    """
    if (library := fused_library(t.device)) is not None:
        address = across.data_ptr()
        library.growth_products(
            t.data_ptr(), *t.shape, P.data_ptr(), P.stride(0), address, None, across.stride(0), None, len(P)
        )
    elif largest < _SMALL:
        across += P @ _small_growth(t, largest, out=spare[: t.numel()].view(t.shape)).mT
    else:
        across += P @ t.exp2_().sub_(1.0).mT


def _small_growth(t: Tensor, largest: float, *, out: Tensor) -> Tensor:
    """``2^t - 1`` for ``|t| <= largest`` to the last digit: its series, with as many terms as that takes.

    ``2^t`` itself would be rounded at the scale of 1.
    """
    largest *= _LN_2
    n_terms, rest = 1, largest / 2.0  # what the series leaves out, over ln(2) t
    while rest > torch.finfo(t.dtype).eps / 4.0:
        n_terms += 1
        rest *= largest / (n_terms + 1)
    terms = [_LN_2**k / math.factorial(k) for k in range(n_terms + 1)]
    torch.mul(t, terms[-1], out=out)
    for term in reversed(terms[1:-1]):
        out.add_(term).mul_(t)
    return out


def add_power_products(across: Tensor, down: Tensor, t: Tensor, P: Tensor, Q: Tensor) -> None:
    """``across += P K'`` and ``down += Q K`` of ``K = 2^min(t, 0)``, a block off the diagonal of a symmetric matrix.

    Parameters
    ----------
    across, down
        (columns, rows) and (columns, m), in the dtype of t
    t
        (rows, m), float32 or float64, contiguous; may be overwritten
    P, Q
        (columns, m) and (columns, rows), in the dtype of t
    """
    names = {torch.float32: "power_products_float", torch.float64: "power_products_double"}
    if not _called(names, across, down, t, P, Q):
        block = t.clamp_max_(0.0).exp2_()
        across += P @ block.mT
        down += Q @ block


def add_tile_products(across: Tensor, down: Tensor, tile: Tensor, P: Tensor, Q: Tensor) -> None:
    """``across += P tile'`` and ``down += Q tile`` of a tile off the diagonal of a symmetric matrix.

    Parameters
    ----------
    across, down
        (columns, rows) and (columns, m), in the dtype of the tile
    tile
        (rows, m), contiguous
    P, Q
        (columns, m) and (columns, rows), in the dtype of the tile
    """
    if not _called({torch.float32: "tile_products"}, across, down, tile, P, Q):
        across += P @ tile.mT
        down += Q @ tile


def _called(names: dict[torch.dtype, str], across: Tensor, down: Tensor, block: Tensor, P: Tensor, Q: Tensor) -> bool:
    """Whether the library has a function for these dtypes, which then has done both products of the block."""
    library = fused_library(block.device)
    if library is None or block.dtype not in names or {each.dtype for each in (across, down, P, Q)} != {block.dtype}:
        return False
    if len(P) > 1 and (P.stride(0) != down.stride(0) or Q.stride(0) != across.stride(0)):
        raise ValueError(f"columns apart {P.stride(0)} and {down.stride(0)}, {Q.stride(0)} and {across.stride(0)}")
    getattr(library, names[block.dtype])(
        block.data_ptr(),
        *block.shape,
        P.data_ptr(),
        P.stride(0),
        across.data_ptr(),
        Q.data_ptr(),
        Q.stride(0),
        down.data_ptr(),
        len(P),
    )
    return True
