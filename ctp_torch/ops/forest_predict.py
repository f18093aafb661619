"""All samples down all trees at once: pointers chased level by level over packed node arrays."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["leaves"]


def leaves(X: Tensor, roots: Tensor, feature: Tensor, threshold: Tensor, left: Tensor) -> Tensor:
    """The leaf that each sample reaches in each tree, (trees, samples) int64.

    Parameters
    ----------
    X
        (samples, features)
    roots
        (trees,), int64: where the trees begin
    feature
        (nodes,), integer; -1 for a leaf
    threshold
        (nodes,); ``x <= threshold`` goes to the left child
    left
        (nodes,), integer: the left child, followed by the right one
    """
    n_samples, n_features = X.shape
    node = roots[:, None].expand(-1, n_samples).reshape(-1)  # (trees * samples,)
    row = (torch.arange(n_samples, device=X.device) * n_features).repeat(len(roots))
    values = X.reshape(-1)
    result = node.clone()
    active = torch.arange(len(node), device=X.device)
    while True:
        test = feature[node].long()
        inner = test >= 0
        result[active[~inner]] = node[~inner]
        active, node, row, test = active[inner], node[inner], row[inner], test[inner]
        if not len(active):
            return result.view(len(roots), n_samples)
        node = left[node].long() + (values[row + test] > threshold[node])
