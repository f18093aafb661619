"""How a result was made: the words its objects say of it, and the identifiers that depend on it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.io.dicom.uids import make_uid

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.io.results.source import Source

__all__ = ["Code", "Derivation", "content_digest", "file_digest", "package_version", "versions"]

_LONG_STRING, _SHORT_TEXT = 64, 1024
"""Most characters of the value representations LO and ST."""


class Code(NamedTuple):
    """A coded concept."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Derivation:
    """How maps and lesions were made."""

    method: str = ""
    """In words: block-circulant SVD, KernelRidge ..."""
    code: Code | None = None
    """Of the method (CID 4105, or our own scheme 99CTPTORCH)."""
    model_sha256: str = ""
    """Digest of the model file, for learned maps."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """All that the result depends on besides its source; JSON-able, never a patient's identity."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Raised quality flags and their names: ``{"q3": "motion"}``."""

    def uid(self, source: Source, *words: object) -> str:
        """The UID of a part of this result: the same source, settings and version give the same."""
        parameters = json.dumps([self.method, self.model_sha256, self.settings], sort_keys=True, default=str)
        return make_uid("ctp_torch", package_version(), source.key, parameters, *words)

    def describe(self, what: str) -> str:
        """What, by which method, model, version and settings, in at most 1024 characters."""
        parts = [f"{what} by {self.method}" if self.method else what, f"ctp_torch {package_version()}"]
        parts += [f"model sha256 {self.model_sha256}"] if self.model_sha256 else []
        parts += [f"quality flags: {', '.join(f'{k} {v}' for k, v in self.flags.items())}"] if self.flags else []
        parts += ["research use only"]
        parts += [f"{name}={value}" for name, value in self.settings.items()]
        return "; ".join(parts).replace("\\", "/")[:_SHORT_TEXT]

    def title(self, what: str) -> str:
        """A series description of at most 64 characters: what, its quality flags, and what it is for."""
        plain = f"{what} RESEARCH USE ONLY"
        named = f"{plain} QC: {', '.join(self.flags.values())}"
        if not self.flags:
            return plain
        return (named if len(named) <= _LONG_STRING else f"{plain} QC: {' '.join(self.flags)}")[:_LONG_STRING]


def content_digest(maps: PerfusionMaps, *masks: Tensor) -> str:
    """A digest of maps and masks, where no settings tell results apart."""
    digest = hashlib.sha256(repr(maps.geometry).encode())
    for name in sorted(maps.values):
        digest.update(name.encode())
        digest.update(maps[name].detach().float().cpu().contiguous().numpy().data)
    for mask in (maps.mask, *masks):
        digest.update(mask.detach().byte().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file, such as a model."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def package_version() -> str:
    """Of this package; asking the metadata for every image would take longer than writing it."""
    return version("ctp-torch")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("ctp-torch", "torch", "gpytorch", "pydicom", "SimpleITK", "nibabel", "numpy", "pytorch-msssim")
    return {"python": platform.python_version(), **{name: version(name) for name in (*names, "safetensors")}}
