"""A symmetric kernel matrix that is kept for many products: half of it, in square tiles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctp_torch.ops.compute.threads import Team, n_groups
from ctp_torch.ops.kernel.fused import add_tile_products
from ctp_torch.ops.kernel.gaussian import gaussian_kernel

__all__ = ["SymmetricGram"]

_SIDE = 1024
_TOGETHER_ON_GPU = 64  # tiles of one launch


class SymmetricGram:
    """The matrix ``K(X, X)`` of samples X (n, features), kept in their dtype.

    Only tiles on and below the diagonal are made and stored, each contiguous: half the memory, half the exponentials,
    and a product that reads each tile once from memory for both of its uses.

    Parameters
    ----------
    X
        (n, features)
    gamma
        inverse squared width
    share, n_shares
        keeps only every ``n_shares``-th tile, from tile ``share`` on; the products of all shares add up to the product
    """

    def __init__(self, X: Tensor, *, gamma: float, share: int = 0, n_shares: int = 1) -> None:
        self._n = len(X)
        self._side = side = min(_SIDE, len(X))
        n_tiles = -(-len(X) // side)
        centred = pad(X - X.mean(0), (0, 0, 0, n_tiles * side - len(X)))  # what is added meets only zeros in products
        samples = centred.view(n_tiles, side, -1)
        # of row i of tiles, the columns j <= i that are this share's: all on one stride
        self._starts = [(share - i * (i + 1) // 2) % n_shares for i in range(n_tiles)]
        self._step = n_shares
        columns = [range(start, i + 1, n_shares) for i, start in enumerate(self._starts)]
        memory = X.new_empty(sum(map(len, columns)), side, side)
        self._rows = memory.split([len(taken) for taken in columns])  # each (tiles, side, side)

        def fill(i: int) -> None:
            for tile, j in zip(self._rows[i], columns[i], strict=True):
                gaussian_kernel(samples[i], samples[j], gamma=gamma, out=tile)

        self._team = Team(X.device, at_most=n_tiles)
        self._team.run(fill, range(n_tiles - 1, -1, -1))  # the longest rows first

    def __matmul__(self, W: Tensor) -> Tensor:
        """K times (n, columns), column-major."""
        side, n_tiles = self._side, len(self._rows)
        P = pad(W.mT, (0, n_tiles * side - self._n)).view(-1, n_tiles, side).movedim(1, 0).contiguous()

        def summed(rows: range) -> Tensor:
            product = torch.zeros_like(P)  # (tiles, columns, side)
            add_row = self._add_row_on_cpu if P.device.type == "cpu" else self._add_row
            for i in rows:
                add_row(i, product, P)
            return product

        n_sums = min(n_tiles, n_groups(P.device, work=self._n**2))
        groups = [range(n_tiles - 1 - k, -1, -n_sums) for k in range(n_sums)]  # the longest rows first
        product = sum(self._team.run(summed, groups), torch.zeros_like(P))
        return product.movedim(0, 1).reshape(len(W.mT), -1)[:, : self._n].mT

    def _add_row_on_cpu(self, i: int, product: Tensor, P: Tensor) -> None:
        """What row i of tiles, and its mirror image, add to the product (tiles, columns, side), tile by tile."""
        spare = torch.zeros_like(P[0])  # the diagonal is its own mirror image
        for tile, j in zip(self._rows[i], range(self._starts[i], i + 1, self._step), strict=True):
            add_tile_products(product[i], product[j] if j < i else spare, tile, P[j], P[i])

    def _add_row(self, i: int, product: Tensor, P: Tensor) -> None:
        """The same, many tiles in one launch."""
        start, tiles, step = self._starts[i], self._rows[i], self._step
        for first in range(0, len(tiles), _TOGETHER_ON_GPU):
            some = tiles[first : first + _TOGETHER_ON_GPU]
            left = start + first * step
            columns = slice(left, left + step * len(some), step)
            product[i] += torch.bmm(some, P[columns].mT).sum(0).mT
            below = len(some) - (columns.stop - step == i)  # without the diagonal tile, the last of a row
            if below:
                mirrored = torch.bmm(P[i].expand(below, -1, -1), some[:below])
                product[left : left + step * below : step] += mirrored
