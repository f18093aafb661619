"""The options that say what is written, and for whom: formats, the BIDS-like tree, and identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ctp_torch.cli import choices, console
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from ctp_torch.io.results.bids import BidsName
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source
    from ctp_torch.io.results.write_maps import Output

__all__ = [
    "BidsOption",
    "Delivery",
    "FormatsOption",
    "KeepIdentityOption",
    "derivation_of",
    "find_source",
    "pick_bids",
    "pick_formats",
    "write_outputs",
]

_NAMES = ("nifti", "ct", "rgb", "pm", "seg", "sr")
_OF_LESIONS = {"seg", "sr"}
_SVD = ("csvd", "osvd", "ssvd", "delay_corrected_ssvd")

FormatsOption = Annotated[
    str,
    typer.Option(
        "--formats",
        help="What to write, separated by commas: nifti; and as DICOM ct (CT images), rgb (map sheets), "
        "pm (parametric maps), seg (core, penumbra), sr (volumes); or all.",
        metavar="NAMES",
    ),
]
BidsOption = Annotated[
    str | None,
    typer.Option("--bids", help="Write into a BIDS-like tree, as SUBJECT or SUBJECT/SESSION.", metavar="LABEL"),
]
KeepIdentityOption = Annotated[
    bool,
    typer.Option(
        "--keep-identity", help="Note the patient in the JSON record too; DICOM results always carry their patient."
    ),
]


def pick_formats(text: str, *, lesions: bool = True) -> tuple[str, ...]:
    """The formats named in ``nifti,ct,...``, each once; refused before anything is computed."""
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if names == ("all",):
        names = _NAMES if lesions else tuple(name for name in _NAMES if name not in _OF_LESIONS)
    unknown = [name for name in names if name not in _NAMES]
    if unknown or not names:
        said = ", ".join(unknown) or "(none given)"
        raise CTPError(f"--formats {text!r}: unknown format {said}; known: {', '.join(_NAMES)}, all")
    wanting = [name for name in names if name in _OF_LESIONS]
    if wanting and not lesions:
        raise CTPError(f"--formats {','.join(wanting)} needs lesions; leave out --no-lesions")
    if {"pm", "seg", "sr"} & set(names):
        from ctp_torch.io.results.objects import need_highdicom

        need_highdicom(f"--formats {text}")
    return names


def pick_bids(text: str | None) -> BidsName | None:
    """Subject and session of the tree; None for the flat folder."""
    if text is None:
        return None
    from ctp_torch.io.results.bids import BidsName

    return BidsName.parse(text)


def find_source(series: Path, uid: str | None, formats: Iterable[str], *, keep: bool) -> Source | None:
    """The study that DICOM results join; one without a patient for NIfTI; None where nobody asks for it."""
    if not keep and not set(formats) - {"nifti"}:
        return None
    from ctp_torch.io.opened import nifti_at
    from ctp_torch.io.results.derivation import file_digest
    from ctp_torch.io.results.source import anonymous_source, read_source

    volume = nifti_at(series)
    if volume is None:
        return read_source(series, series=uid)
    console.warn(f"{volume.name} tells no patient: DICOM results make an anonymous study of their own")
    return anonymous_source(file_digest(volume))


def derivation_of(
    settings: Mapping[str, object],
    *,
    model: Path | None = None,
    files: Iterable[Path | str | None] = (),
    flags: Iterable[str] = (),
) -> Derivation:
    """How a result was made, from what a command was told.

    Parameters
    ----------
    settings
        as the record has them; ``method`` names the deconvolution
    model
        file of the regressor, if one predicted
    files
        that the result depends on (masks, curves, times); words that are no file are passed over
    flags
        raised quality flags
    """
    from ctp_torch.io.results.derivation import Code, Derivation, file_digest
    from ctp_torch.quality.flags import NAMES

    name = str(settings.get("method") or "")
    code = None
    if name in _SVD:
        code = Code("126311", "DCM", "SVD Deconvolution")
    elif name:
        code = Code(name[:16].upper(), "99CTPTORCH", choices.METHODS[name][:64])
    elif model is not None:
        code = Code("REGRESSION", "99CTPTORCH", "Regression of time curves")
    plain = {k: Path(v).name if isinstance(v, str) and Path(v).is_file() else v for k, v in settings.items()}
    digests = {
        f"sha256 of {Path(file).name}": file_digest(file)[:16] for file in files if file and Path(file).is_file()
    }
    return Derivation(
        method=choices.METHODS.get(name, "learned regression" if model is not None else ""),
        code=code,
        model_sha256="" if model is None else file_digest(model),
        settings={**plain, **digests},
        flags={flag: NAMES[flag] for flag in flags},
    )


class Delivery(NamedTuple):
    """What is to be written, and for whom."""

    formats: tuple[str, ...]
    source: Source | None
    """The study that DICOM results join."""
    derivation: Derivation
    bids: BidsName | None = None
    keep_identity: bool = False

    def identity(self) -> dict[str, object]:
        """The patient, for a record whose owner asked for it; else nothing."""
        if not self.keep_identity or self.source is None:
            return {}
        from ctp_torch.io.results.identity import identity_record

        return {"patient": identity_record(self.source.identity)}


def write_outputs(folder: Path, output: Output, delivery: Delivery) -> list[Path]:
    """The formats written into a folder that exists; what needs lesions is left out where there are none."""
    from ctp_torch.io.results.bids import write_bids
    from ctp_torch.io.results.write_maps import write_formats

    told = delivery.derivation
    wanted = [name for name in delivery.formats if output.lesions is not None or name not in _OF_LESIONS]
    paths = []
    if delivery.bids is not None and "nifti" in wanted:
        wanted.remove("nifti")
        facts = {"Settings": told.settings, "ModelSHA256": told.model_sha256 or None}
        method = str(told.settings.get("method") or told.settings.get("model") or "maps")
        paths += write_bids(folder, output, delivery.bids, method=Path(method).stem, facts=facts)
    return paths + write_formats(folder, output, wanted, source=delivery.source, derivation=told)
