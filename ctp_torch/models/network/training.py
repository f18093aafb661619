"""Weights of a module by Adam, with batches, first weights and held-out samples from one seed."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Loss", "initial_weights", "named_parameters", "train_weights"]

Loss = Literal["squared", "absolute"]

_CHECKS = 40
"""Times in a training that the held-out samples are asked."""
_WARM_UP = 0.1
"""Share of the steps at the full learning rate."""
_PIECE = 16_384


def named_parameters(module: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """Views into one tensor of all weights, by the names of the module's parameters."""
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    parts = weights.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def initial_weights(module: nn.Module, *, seed: int) -> Tensor:
    """First weights ``(parameters,)`` of a module: uniform within 1 / sqrt(fan-in), as torch draws them; biases 0.

    Drawn on the CPU, so that every device starts alike.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parts.append(torch.zeros(parameter.numel()))
            continue
        bound = 1.0 / math.sqrt(parameter[0].numel())
        parts.append(bound * (2.0 * torch.rand(parameter.numel(), generator=generator) - 1.0))
    return torch.cat(parts)


def train_weights(
    module: nn.Module,
    weights: Tensor,
    X: Tensor,
    Y: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    loss: Loss,
    held_out: float,
    seed: int,
) -> Tensor:
    """The weights that predict held-out samples best, of those that training passes through.

    Parameters
    ----------
    module
        on the meta device: its shapes and its function
    weights
        ``(parameters,)`` to begin with, on the device
    X, Y
        standardised, float32
    steps, batch_size, learning_rate, weight_decay, loss, held_out, seed
        as of `NeuralNetwork`
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(X), generator=generator)
    n_held = int(held_out * len(X))
    held, kept = order[:n_held].to(X.device), order[n_held:]
    weights = weights.clone().requires_grad_()
    optimizer = torch.optim.AdamW([weights], lr=learning_rate, weight_decay=weight_decay)
    best, lowest = weights.detach().clone(), math.inf
    every = max(1, steps // _CHECKS)
    for step in range(steps):
        falling = max(0.0, step / steps - _WARM_UP) / (1.0 - _WARM_UP)
        optimizer.param_groups[0]["lr"] = learning_rate * (0.5 + 0.5 * math.cos(math.pi * falling))
        chosen = kept[torch.randint(len(kept), (min(batch_size, len(kept)),), generator=generator)].to(X.device)
        optimizer.zero_grad()
        with torch.enable_grad():
            _loss(module, weights, X[chosen], Y[chosen], loss).backward()
        optimizer.step()
        last = step == steps - 1
        if n_held and ((step + 1) % every == 0 or last):
            error = _held_out_error(module, weights.detach(), X[held], Y[held], loss)
            if error < lowest:
                best, lowest = weights.detach().clone(), error
    return best if n_held else weights.detach().clone()


def _loss(module: nn.Module, weights: Tensor, X: Tensor, Y: Tensor, loss: Loss) -> Tensor:
    """Mean squared or absolute difference."""
    off = torch.func.functional_call(module, named_parameters(module, weights), X) - Y
    return off.square().mean() if loss == "squared" else off.abs().mean()


@torch.no_grad()
def _held_out_error(module: nn.Module, weights: Tensor, X: Tensor, Y: Tensor, loss: Loss) -> float:
    """The loss of many samples, piece by piece."""
    pieces = zip(X.split(_PIECE), Y.split(_PIECE), strict=True)
    return sum(float(_loss(module, weights, x, y, loss)) * len(x) for x, y in pieces) / len(X)
