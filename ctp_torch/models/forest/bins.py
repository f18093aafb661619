"""Features to small whole numbers: quantile bins over all samples, finer ones inside nodes that these can't split."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bin_codes", "code_dtype", "local_codes", "quantile_edges"]

_BLOCK = 1 << 22  # values sorted at once: 4 million float32 and their int64 order are 50 MB


def code_dtype(n_bins: int) -> torch.dtype:
    """The shortest dtype that holds the codes of ``n_bins`` bins."""
    return torch.uint8 if n_bins <= 256 else torch.int16


def quantile_edges(X: Tensor, n_bins: int) -> Tensor:
    """The largest value of every bin but the last, for each feature.

    A feature with at most ``n_bins`` distinct values has one bin for each, so that every split of it stays possible;
    any other has bins of equally many samples.

    Parameters
    ----------
    X
        (samples, features), finite
    n_bins
        2 to 32767

    Returns
    -------
        (features, n_bins - 1), ascending; unused edges are infinite
    """
    n_samples, n_features = X.shape
    edges = X.new_full((n_features, n_bins - 1), torch.inf)
    quantiles = torch.arange(1, n_bins, device=X.device) * n_samples
    quantiles = ((quantiles + n_bins - 1) // n_bins - 1).clamp_(min=0)
    for columns in torch.arange(n_features, device=X.device).split(max(1, _BLOCK // n_samples)):
        values = X[:, columns].mT.contiguous().sort(1).values  # (columns, samples)
        last = torch.ones_like(values, dtype=torch.bool)
        last[:, :-1] = values[:, 1:] != values[:, :-1]  # the last of equal values
        rank = last.cumsum(1)  # of the distinct values, from 1; the last of a run holds its own
        few = rank[:, -1] <= n_bins
        edges[columns[~few]] = values[~few][:, quantiles]
        is_edge = last & (rank < rank[:, -1:]) & few[:, None]  # every distinct value but the largest
        column, _ = is_edge.nonzero(as_tuple=True)
        edges[columns[column], rank[is_edge] - 1] = values[is_edge]
    return edges


def bin_codes(X: Tensor, edges: Tensor) -> Tensor:
    """The bin of every value: the number of edges below it, so that ``code <= b`` says ``x <= edges[b]``.

    Parameters
    ----------
    X
        (samples, features)
    edges
        (features, bins - 1), of ``quantile_edges``

    Returns
    -------
        (samples, features), uint8 up to 256 bins, else int16
    """
    dtype = code_dtype(edges.shape[1] + 1)
    blocks = [torch.searchsorted(edges, rows.mT.contiguous(), out_int32=True).mT for rows in _rows(X)]
    return torch.cat([codes.to(dtype) for codes in blocks]).contiguous()


def local_codes(X: Tensor, size: Tensor, n_bins: int) -> Tensor:
    """Codes that tell the samples of each node apart: ranks of its own distinct values, or bins of them.

    Parameters
    ----------
    X
        (samples, features); the samples of one node stand together
    size
        (nodes,), int64: samples of each node
    n_bins
        at most so many codes

    Returns
    -------
        (samples, features), in the dtype of ``bin_codes``
    """
    node = torch.arange(len(size), device=X.device).repeat_interleave(size)  # (samples,)
    start = size.cumsum(0) - size
    codes = torch.empty(X.shape, dtype=code_dtype(n_bins), device=X.device)
    for columns in torch.arange(X.shape[1], device=X.device).split(max(1, _BLOCK // max(1, len(X)))):
        order = X[:, columns].argsort(0)
        order = order.gather(0, node[order].argsort(dim=0, stable=True))  # by node, then by value
        values = X[:, columns].gather(0, order)
        new = torch.zeros_like(values, dtype=torch.int64)
        new[1:] = values[1:] != values[:-1]
        rank = new.cumsum(0)
        rank -= rank[start][node]  # from 0 within the node
        distinct = rank[start + size - 1][node] + 1
        rank = torch.where(distinct > n_bins, rank * n_bins // distinct, rank)
        codes[:, columns] = torch.empty_like(rank).scatter_(0, order, rank).to(codes.dtype)
    return codes


def _rows(X: Tensor) -> tuple[Tensor, ...]:
    """Blocks of samples."""
    blocks: tuple[Tensor, ...] = X.split(max(1, _BLOCK // X.shape[1]))
    return blocks
