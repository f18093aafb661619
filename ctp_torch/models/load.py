"""A model file to a fitted model, once all in it is found to be what a fit leaves behind."""

from __future__ import annotations

import json
import os
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ctp_torch.errors import ModelMismatchError, UnreadableFileError, check_type
from ctp_torch.models.base import FILE_FORMAT, FILE_HEADER, Regressor, is_state
from ctp_torch.models.file_checks import check_recipe, check_state

__all__ = ["HOMES", "SHIPPED", "load_model", "model_file"]

SHIPPED = ("physics",)
"""Models that come with the package, by name."""

HOMES = {
    "Convolution": "ctp_torch.models.network.convolution",
    "KernelRidge": "ctp_torch.models.kernel.kernel_ridge",
    "LinearRegression": "ctp_torch.models.linear",
    "Network": "ctp_torch.models.network.perceptron",
    "RandomForest": "ctp_torch.models.forest.random_forest",
    "Recurrent": "ctp_torch.models.network.recurrent",
    "Ridge": "ctp_torch.models.linear",
    "Stack": "ctp_torch.models.stack",
    "UNet": "ctp_torch.models.network.unet",
}
"""Where the class of a model file is."""


def model_file(name: str | os.PathLike[str]) -> Path:
    """The file of a model: of one that comes with the package by its name, any other by its path."""
    if str(name) not in SHIPPED:
        return Path(name)
    return Path(__file__).parent / "shipped" / f"{name}.safetensors"


def load_model(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Regressor:
    """The fitted model in a file that ``Regressor.save`` wrote, or one that comes with the package.

    Parameters
    ----------
    path
        the model file; ``"physics"`` is the student of simulated curves (a file of that name is ``"./physics"``)
    device
        where its tensors go

    Raises
    ------
    UnreadableFileError
        if the file is missing, truncated, or not safetensors
    ModelMismatchError
        if it is somebody else's safetensors file, of a newer version of ctp_torch, or damaged: tensors that are
        missing, not finite or of another shape than class and parameters tell
    """
    from safetensors import SafetensorError, safe_open

    check_type(path, (str, os.PathLike), "load_model: path", "a file of ctp-torch train, or physics")
    path = model_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(FILE_HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path}: no such file; check the path, or train a model first") from error
    except (SafetensorError, OSError) as error:
        raise UnreadableFileError(
            f"{path}: not a model file, or cut short ({error}); copy it again or train the model again"
        ) from error
    if text is None:
        raise ModelMismatchError(
            f"{path}: a safetensors file, but not of ctp_torch; give a file written by save or train"
        )
    model = _restored(path, text, tensors)
    try:
        n_targets = model._check_fit()
        check_state(vars(model), n_targets)
        if "recipe" in model.metadata_:
            check_recipe(model.metadata_["recipe"], n_features=model.n_features_in_, n_targets=n_targets)
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError, OverflowError) as error:
        raise ModelMismatchError(f"{path}: the model is damaged ({error}); copy it again or train it again") from error
    return model.to(device)


def _restored(path: Path, text: str, tensors: dict[str, Tensor]) -> Regressor:
    """The model that the header and the tensors describe."""
    try:
        header = json.loads(text)
        if header["format"] > FILE_FORMAT:
            raise ModelMismatchError(
                f"{path}: model format {header['format']}, written by ctp_torch {header['version']}; this is "
                f"{version('ctp-torch')}, which reads up to format {FILE_FORMAT}: upgrade ctp-torch"
            )
        name, parameters, state = str(header["class"]), dict(header["parameters"]), dict(header["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelMismatchError(f"{path}: the model header is damaged ({error!r}); train the model again") from error
    if "n_features_in_" not in state:
        raise ModelMismatchError(f"{path}: the model header is damaged (no fitted state); train the model again")
    if name not in HOMES:
        raise ModelMismatchError(f"{path}: holds a {name!r}; this version knows {', '.join(HOMES)}: upgrade ctp-torch")
    regressor = getattr(import_module(HOMES[name]), name)
    if set(parameters) != set(regressor._parameter_names()):
        raise ModelMismatchError(f"{path}: {name} has other parameters here than in the file; train the model again")
    model = regressor(**parameters)
    if not isinstance(model, Regressor):
        raise TypeError(f"{name} in ctp_torch.models is no Regressor")
    for key, value in {**state, **tensors}.items():
        if not is_state(key):
            raise ModelMismatchError(f"{path}: the model header is damaged (entry {key!r}); train the model again")
        setattr(model, key, value)
    return model
