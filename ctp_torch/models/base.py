"""The contract every regressor keeps: checked samples in, shapes that follow the fit, one safe model file."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, overload

import torch
from torch import Tensor

from ctp_torch.errors import NotFittedError, OutputExistsError
from ctp_torch.models.arrays import Samples, answered, as_samples
from ctp_torch.models.checks import check_finite, check_tensor, working_dtype

__all__ = ["FILE_FORMAT", "FILE_HEADER", "Regressor", "check_finite", "is_state", "r2_score", "working_dtype"]

FILE_HEADER = "ctp_torch"
"""Key of the JSON header among a model file's safetensors metadata."""
FILE_FORMAT = 1
"""Version of the header."""


class Regressor:
    """A map from curves (samples, features) to targets (samples, targets), learned by ``fit``.

    A subclass stores its constructor's arguments under their own names and writes two hooks:

    ``_fit(X, Y)``
        gets finite X (samples, features) and Y (samples, targets), both of one floating dtype (float32 or float64)
        and on one device, and stores what it learned in attributes that end in ``_``.
    ``_predict(X)``
        gets checked X and returns (samples, targets).

    The attributes that end in ``_`` are the fitted state: ``fit`` drops them all first, ``to`` moves the tensors among
    them, ``save`` writes them (tensors as tensors, anything else as JSON) and ``load_model`` puts them back.

    scikit-learn's tools (``clone``, ``GridSearchCV``, ``cross_val_score``, ``Pipeline``) work with it: numpy arrays in,
    numpy arrays out.
    """

    sees: ClassVar[Literal["voxels", "slices"]] = "voxels"
    """Whether a sample is a voxel ``(samples, features)``, or a slice ``(slices, rows, columns, features)``."""
    _batched: ClassVar[bool] = False
    """Whether X and Y may have leading batch dimensions."""
    _streams: ClassVar[bool] = False
    """Whether ``_fit`` and ``_predict`` convert the dtype themselves, block by block (X may be larger than memory)."""

    n_features_in_: int
    single_target_: bool
    metadata_: dict[str, Any]

    def fit(self, X: Samples, y: Samples) -> Self:
        """The model itself, fitted to these samples alone (an earlier fit is forgotten).

        Parameters
        ----------
        X
            (samples, features), tensor or array; integers and half precision are computed in float32
        y
            (samples, targets) or (samples,), on the device of X

        Raises
        ------
        ValueError
            if the shapes, devices or batch dimensions don't fit, or a value is NaN or infinite
        TypeError
            if X or y holds no real numbers
        """
        X, Y = as_samples(X, "X"), as_samples(y, "y")
        targets = self._prepared(X, Y)
        samples = X.detach()
        self._fit(samples if self._streams else samples.to(targets.dtype), targets)
        self._seal(X.shape[-1], single_target=Y.ndim < X.ndim)
        return self

    def _prepared(self, X: Tensor, Y: Tensor) -> Tensor:
        """Forget the past, check both, and give back Y as (samples, targets) in the working dtype."""
        self._forget()
        self._check_samples(X, "X")
        check_tensor(Y, "y")
        single = Y.ndim == X.ndim - 1
        if Y.shape[: X.ndim - 1] != X.shape[:-1] or not (single or Y.ndim == X.ndim):
            raise ValueError(f"y must be (samples, targets) or (samples,), got {tuple(Y.shape)} for X {tuple(X.shape)}")
        if Y.device != X.device:
            raise ValueError(f"X is on {X.device} and y on {Y.device}: move one of them")
        for size, what in ((X.shape[-1], "feature"), (X.shape[-2], "sample"), (Y.numel(), "target")):
            if size == 0:
                raise ValueError(
                    f"0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 is required: nothing to fit"
                )
        check_finite(Y, "y")
        dtype = torch.promote_types(working_dtype(X), working_dtype(Y))
        return (Y.unsqueeze(-1) if single else Y).detach().to(dtype)  # (samples, targets)

    def _seal(self, n_features: int, *, single_target: bool) -> None:
        """Mark the model as fitted."""
        self.single_target_ = single_target
        self.metadata_ = {}
        self.n_features_in_ = n_features  # last: its presence says that the fit went through

    @overload
    def predict(self, X: Tensor) -> Tensor: ...
    @overload
    def predict(self, X: Samples) -> Any: ...
    def predict(self, X: Samples) -> Any:
        """The predictions: (samples, targets), or (samples,) after a fit to one-dimensional Y, in the dtype of X.

        Integers and half precision are answered in float32. A tensor is answered by a tensor; anything else by a numpy
        array, computed where the model is.

        Raises
        ------
        NotFittedError
            before ``fit``
        ValueError
            if X has another number of features than in the fit, is on another device, or holds NaN or infinity
        """
        self._check_fitted()
        given, X = X, as_samples(X, "X")
        self._check_samples(X, "X")
        if X.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[-1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                "as input"
            )
        if given is not X:
            X = X.to(self.device)
        if X.device != self.device:
            raise ValueError(f"X is on {X.device} and the model on {self.device}: call model.to({str(X.device)!r})")
        dtype, samples = working_dtype(X), X.detach()
        predictions = self._predict(samples if self._streams else samples.to(dtype)).to(dtype)
        return answered(predictions.squeeze(-1) if self.single_target_ else predictions, given)

    def score(self, X: Samples, y: Samples) -> float:
        """R2 = 1 - SSE / SST of the predictions, averaged over targets with equal weight (as in scikit-learn)."""
        predictions, Y = as_samples(self.predict(X), "X"), as_samples(y, "y")
        if predictions.shape != Y.shape:
            raise ValueError(
                f"y must have the shape of the predictions {tuple(predictions.shape)}, got {tuple(Y.shape)}"
            )
        if self.single_target_:
            predictions, Y = predictions.unsqueeze(-1), Y.unsqueeze(-1)
        return float(r2_score(predictions, Y).mean())

    def to(self, device: torch.device | str) -> Self:
        """The model itself, with its learned tensors on this device."""
        for name, value in vars(self).items():
            if is_state(name) and isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    @property
    def device(self) -> torch.device:
        """Where the learned tensors are.

        Raises
        ------
        NotFittedError
            before ``fit``
        """
        self._check_fitted()
        return next(value.device for name, value in vars(self).items() if is_state(name) and isinstance(value, Tensor))

    @classmethod
    def _parameter_names(cls) -> list[str]:
        """The constructor's arguments."""
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments and their values; none holds another model, so that ``deep`` changes nothing."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """The model itself, with other constructor's arguments; a fit stays what it was until the next.

        Raises
        ------
        ValueError
            for a name that the constructor doesn't know
        """
        names = self._parameter_names()
        for name in params:
            if name not in names:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(names) or 'none'}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's tools may expect: a regressor of dense, finite numbers and any number of targets."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True, multi_output=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Whether it was fitted, as scikit-learn asks."""
        return "n_features_in_" in vars(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    def save(self, path: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None) -> None:
        """Write a model file: safetensors with one JSON header; whole or not at all.

        Parameters
        ----------
        path
            the file; an older one is replaced once the new one is complete
        metadata
            anything JSON can hold (preprocessing, targets, provenance); read back as ``model.metadata_``. Left out,
            the metadata that the model already has.

        Raises
        ------
        NotFittedError
            before ``fit``
        OutputExistsError
            if the file can't be written there
        """
        from ctp_torch.io.atomic import save_tensors

        self._check_fitted()
        if metadata is not None:
            self.metadata_ = dict(metadata)
        state = {name: value for name, value in vars(self).items() if is_state(name)}
        tensors = {n: v.detach().cpu().contiguous().clone() for n, v in state.items() if isinstance(v, Tensor)}
        header = {
            "format": FILE_FORMAT,
            "version": version("ctp-torch"),
            "class": type(self).__name__,
            "parameters": self.get_params(),
            "state": {n: v for n, v in state.items() if not isinstance(v, Tensor)},
        }
        text = json.dumps(header)
        path = Path(path)
        if not path.parent.is_dir():
            raise OutputExistsError(f"{path}: can't write a model here (no such folder); choose another place")
        try:
            save_tensors(tensors, path, metadata={FILE_HEADER: text})
        except OSError as error:
            raise OutputExistsError(
                f"{path}: can't write the model ({error.strerror}); make room, or choose another place"
            ) from error

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Learn from X (samples, features) and Y (samples, targets); a subclass's first hook."""
        raise TypeError(f"{type(self).__name__} doesn't say how to fit")

    def _predict(self, X: Tensor) -> Tensor:
        """(samples, targets) of X (samples, features); a subclass's second hook."""
        raise TypeError(f"{type(self).__name__} doesn't say how to predict")

    def _check_fit(self) -> int:
        """The number of targets of the fitted state, once its tensors and parameters are found to fit each other."""
        raise TypeError(f"{type(self).__name__} doesn't say what it learned")

    @property
    def n_targets(self) -> int:
        """Number of targets it predicts.

        Raises
        ------
        NotFittedError
            before ``fit``
        """
        self._check_fitted()
        return self._check_fit()

    def _forget(self) -> None:
        """Drop the fitted state."""
        for name in [name for name in vars(self) if is_state(name)]:
            delattr(self, name)

    def _check_fitted(self) -> None:
        """Refuse before the first whole fit."""
        if "n_features_in_" not in vars(self):
            raise NotFittedError(f"{type(self).__name__} isn't fitted yet: call fit(X, Y) or load a model file first")

    def _check_samples(self, X: Tensor, name: str) -> None:
        """Refuse what is no finite (samples, features)."""
        check_tensor(X, name)
        if X.ndim < 2 or (X.ndim > 2 and not self._batched):
            raise ValueError(
                f"{name} must be (samples, features), got shape {tuple(X.shape)}. Reshape your data: "
                f"{name}.reshape(-1, 1) for one feature, {name}.reshape(1, -1) for one sample"
            )
        check_finite(X, name)


def r2_score(predictions: Tensor, Y: Tensor) -> Tensor:
    """R2 = 1 - SSE / SST of every target, in float64; a constant target scores 1 if it is hit exactly, else 0.

    Parameters
    ----------
    predictions
        (..., samples, targets)
    Y
        the truth, in the same shape

    Returns
    -------
        (..., targets)
    """
    truth = Y.double()
    residual = (truth - predictions.double()).square().sum(-2)
    spread = (truth - truth.mean(-2, keepdim=True)).square().sum(-2)
    constant = spread == 0
    return torch.where(constant, (residual == 0).double(), 1.0 - residual / torch.where(constant, 1.0, spread))


def is_state(name: str) -> bool:
    """Whether an attribute belongs to the fitted state: it ends in one underscore and isn't private."""
    return name.endswith("_") and not name.startswith("_")
