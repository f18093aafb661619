"""Blocks of a kernel matrix, and their products with a few columns: by compiled loops, or in several passes by torch.

A block holds powers of two of the dot products of x (rows, features) with z (m, features). Columns of weights and of
products are rows here, (columns, samples), so that each is contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import CDLL

import torch
from torch import Tensor

from ctp_torch.ops.compute.compiled import fused_library

__all__ = ["add_growth_products", "add_power_products", "add_tile_products", "working_memory", "write_powers"]

_LN_2 = 0.6931471805599453
_SMALL = 0.36  # exponent up to which a short series is quicker than powers, and exact to the last digit
_NAMES = {torch.float32: "float", torch.float64: "double"}


def working_memory(like: Tensor, rows: int, m: int, *, features: int, columns: int) -> Tensor:
    """Memory that the functions below work in; kept from block to block, for new pages cost as much as the powers.

    Parameters
    ----------
    like
        any tensor of the device and dtype of the blocks
    rows, m
        size of the largest block; twice the rows for growth products, which torch makes in two
    features
        of x and z
    columns
        of weights
    """
    library = fused_library(like.device)
    if library is None or like.dtype not in _NAMES:
        return like.new_empty(rows * m)
    return like.new_empty(getattr(library, f"memory_{_NAMES[like.dtype]}")(features, columns))


def write_powers(out: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """``out = 2^min(x z', 0)``, the block (rows, m) itself, whose rows may lie in a larger matrix; returns it.

    Parameters
    ----------
    out
        (rows, m), in the dtype of x
    x, z
        (rows, features) and (m, features), contiguous
    """
    x, z, library = x.contiguous(), z.contiguous(), fused_library(out.device)
    if library is None or not _readable(out, x, z):
        return torch.mm(x, z.mT, out=out).clamp_max_(0.0).exp2_()  # rounding lifts a sample's with itself above 0
    memory = working_memory(x, *out.shape, features=x.shape[1], columns=0)
    function = getattr(library, f"kernel_{_NAMES[x.dtype]}")
    function(*_block(x, z), out.data_ptr(), out.stride(0), memory.data_ptr())
    return out


def add_growth_products(across: Tensor, x: Tensor, z: Tensor, P: Tensor, *, largest: float, memory: Tensor) -> None:
    """``across += P (2^(x z') - 1)'``, rounded at the scale of the small ``2^t - 1`` where the loops are compiled.

    Parameters
    ----------
    across
        (columns, rows), float64
    x, z
        (rows, features) and (m, features), float32, contiguous; their dot products lie within +-126
    P
        (columns, m), float32
    largest
        bound of ``|x z'|``
    memory
        from :func:`working_memory`
    """
    x, z, library = x.contiguous(), z.contiguous(), fused_library(x.device)
    # Compiled, a block is never written down: a strip of it is made in registers, multiplied, and forgotten. torch has
    # to write it, once for the exponents and once for the powers: memory, not arithmetic, is then what takes the time.
    if library is not None and _readable(x, z, P):  # the other way round: sums down a block are quicker than across it
        ends = P.data_ptr(), None, P.stride(0), None, across.data_ptr(), across.stride(0)
        library.products_growth(*_block(z, x), *ends, len(P), memory.data_ptr())
        return
    t = torch.mm(x, z.mT, out=_part(memory, x, z))
    if largest < _SMALL:
        across += P @ _small_growth(t, largest, out=_part(memory[t.numel() :], x, z)).mT
    else:
        across += P @ t.exp2_().sub_(1.0).mT  # rounded at the scale of 1, near the largest of them


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


def add_power_products(
    across: Tensor,
    x: Tensor,
    z: Tensor,
    P: Tensor,
    *,
    memory: Tensor,
    down: Tensor | None = None,
    Q: Tensor | None = None,
) -> None:
    """``across += P K'`` of ``K = 2^min(x z', 0)``, and ``down += Q K`` of a block off a symmetric matrix's diagonal.

    Parameters
    ----------
    across, down
        (columns, rows) and (columns, m), in the dtype of x; None for one product alone
    x, z
        (rows, features) and (m, features), contiguous
    P, Q
        (columns, m) and (columns, rows), in the dtype of x
    memory
        from :func:`working_memory`

    Raises
    ------
    ValueError
        columns of P and down, or of Q and across, lie unequally far apart
    """
    x, z, library = x.contiguous(), z.contiguous(), fused_library(x.device)
    if down is None or Q is None:
        if library is not None and _readable(across, x, z, P):  # the other way round, as above
            one_way = P.data_ptr(), None, P.stride(0), None, across.data_ptr(), across.stride(0)
            _products(library, x)(*_block(z, x), *one_way, len(P), memory.data_ptr())
        else:
            across += P @ _powers(x, z, memory).mT
    elif library is not None and _readable(across, x, z, P, down, Q):
        _refuse_apart((P, down), (Q, across))  # the loops step through a pair by one stride
        ends = Q.data_ptr(), across.data_ptr(), Q.stride(0), P.data_ptr(), down.data_ptr(), P.stride(0)
        _products(library, x)(*_block(x, z), *ends, len(P), memory.data_ptr())
    else:
        block = _powers(x, z, memory)
        across += P @ block.mT
        down += Q @ block


def _powers(x: Tensor, z: Tensor, memory: Tensor) -> Tensor:
    """``2^min(x z', 0)`` by torch, (rows, m)."""
    return torch.mm(x, z.mT, out=_part(memory, x, z)).clamp_max_(0.0).exp2_()


def _part(memory: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """A block (rows, m) of memory, or new memory where that was meant for the compiled loops."""
    size = len(x) * len(z)
    return (memory[:size] if len(memory) >= size else x.new_empty(size)).view(len(x), len(z))


def _products(library: CDLL, x: Tensor) -> Callable[..., None]:
    """The compiled products of a block in the dtype of x."""
    function: Callable[..., None] = getattr(library, f"products_{_NAMES[x.dtype]}")
    return function


def add_tile_products(across: Tensor, down: Tensor, tile: Tensor, P: Tensor, Q: Tensor) -> None:
    """``across += P tile'`` and ``down += Q tile`` of a stored tile off the diagonal of a symmetric matrix.

    Parameters
    ----------
    across, down
        (columns, rows) and (columns, m), in the dtype of the tile
    tile
        (rows, m), contiguous
    P, Q
        (columns, m) and (columns, rows), in the dtype of the tile
    """
    library = fused_library(tile.device)
    if library is None or tile.dtype != torch.float32 or not _readable(across, down, tile, P, Q):
        across += P @ tile.mT
        down += Q @ tile
        return
    _refuse_apart((P, down), (Q, across), (P, Q))
    ends = P.data_ptr(), across.data_ptr(), Q.data_ptr(), down.data_ptr(), P.stride(0)
    library.tile_products(tile.data_ptr(), *tile.shape, *ends, len(P))


def _readable(*tensors: Tensor) -> bool:
    """Whether there are functions for them: memory is never read as what it isn't, nor with gaps in its rows."""
    return (
        len({each.dtype for each in tensors}) == 1
        and tensors[0].dtype in _NAMES
        and all(each.stride(1) == 1 or each.shape[1] == 1 for each in tensors)
    )


def _block(x: Tensor, z: Tensor) -> tuple[int, int, int, int, int]:
    """What a block is made of, for a compiled function."""
    return x.data_ptr(), len(x), z.data_ptr(), len(z), x.shape[1]


def _refuse_apart(*pairs: tuple[Tensor, Tensor]) -> None:
    """Columns of a pair must lie equally far apart."""
    for first, second in pairs:
        if len(first) > 1 and first.stride(0) != second.stride(0):
            raise ValueError(f"columns lie {first.stride(0)} and {second.stride(0)} apart")
