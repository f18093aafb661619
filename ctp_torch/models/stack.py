"""Two stages in one model: what a finished regressor answers at several widths is what a second one learns from."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ctp_torch.models.base import Regressor, is_state
from ctp_torch.models.load import HOMES, load_model

__all__ = ["Stack"]


class Stack(Regressor):
    """A regressor on the answers of another: the features are those of the first, at several widths side by side.

    The first stage is finished, and is not trained again; the file holds both.

    Parameters
    ----------
    first
        name or file of the first stage; read by ``fit``
    second
        class of the second stage, as ``Network`` or ``KernelRidge``
    parameters
        of the second stage
    passed
        of the features the last ones, which go past the first stage to the second
    """

    def __init__(
        self,
        first: str = "physics",
        second: str = "Network",
        parameters: Mapping[str, Any] | None = None,
        passed: int = 0,
    ) -> None:
        self.first = str(first)
        self.second = second
        self.parameters = dict(parameters or {})
        self.passed = passed

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """The second stage, on what the first says of these samples."""
        first = load_model(self.first, X.device)
        self._keep("first", first)
        self._keep("second", _made(self.second, self.parameters).fit(self._answers(first, X), Y))

    def _predict(self, X: Tensor) -> Tensor:
        """The second stage's answer to those of the first."""
        values = self._stage("second").predict(self._answers(self._stage("first"), X))
        return values if values.ndim == 2 else values[:, None]

    def _answers(self, first: Regressor, X: Tensor) -> Tensor:
        """What the first stage says at each width, and what passes it: ``(samples, widths * its targets + passed)``."""
        n, n_asked = first.n_features_in_, X.shape[1] - self.passed
        if n_asked < n or n_asked % n:
            raise ValueError(f"X has {n_asked} features; the first stage needs {n} at each width")
        asked = [first.predict(part) for part in X[:, :n_asked].split(n, dim=1)]
        return torch.cat([*asked, X[:, n_asked:]], dim=1)

    def _keep(self, stage: str, model: Regressor) -> None:
        """A stage's class, parameters and fitted state as this model's own."""
        facts = {"class": type(model).__name__, "parameters": model.get_params()}
        state = {name: value for name, value in vars(model).items() if is_state(name) and name != "metadata_"}
        facts["state"] = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
        setattr(self, f"{stage}_", facts)
        for name, value in state.items():
            if isinstance(value, Tensor):
                setattr(self, f"{stage}_{name}", value)

    def _stage(self, stage: str) -> Regressor:
        """A stage as the regressor that it is."""
        facts = vars(self)[f"{stage}_"]
        model = _made(facts["class"], facts["parameters"])
        tensors = {
            name.removeprefix(f"{stage}_"): value
            for name, value in vars(self).items()
            if name.startswith(f"{stage}_") and isinstance(value, Tensor)
        }
        for name, value in {**facts["state"], **tensors}.items():
            if not is_state(name):
                raise ValueError(f"the {stage} stage holds {name!r}")
            setattr(model, name, value)
        model.metadata_ = {}
        return model

    def _check_fit(self) -> int:
        """Two whole stages, of which the second takes what the first gives."""
        first, second = self._stage("first"), self._stage("second")
        n_first, n_targets = first._check_fit(), second._check_fit()
        if type(self.passed) is not int or not 0 <= self.passed < self.n_features_in_:
            raise ValueError(f"{self.passed!r} of {self.n_features_in_} features can't pass the first stage")
        widths, rest = divmod(self.n_features_in_ - self.passed, first.n_features_in_)
        if rest or second.n_features_in_ != widths * n_first + self.passed:
            raise ValueError(
                f"{self.n_features_in_} features at {widths} widths give {widths * n_first + self.passed} answers, the "
                f"second stage takes {second.n_features_in_}"
            )
        return n_targets


def _made(name: str, parameters: Mapping[str, Any]) -> Regressor:
    """An unfitted regressor of that class."""
    if name not in HOMES or name == "Stack":
        raise ValueError(f"a stage can be {', '.join(one for one in HOMES if one != 'Stack')}, not {name!r}")
    model: Regressor = getattr(import_module(HOMES[name]), name)(**parameters)
    return model
