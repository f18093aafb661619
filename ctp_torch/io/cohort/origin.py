"""Whose map a file holds, and of which calculation: maps of two patients, studies or calculations never mix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ctp_torch.errors import UnreadableFileError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Origin", "check_one_case", "joined"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Origin:
    """What tells a map from others of its quantity; identity is only compared, never shown."""

    label: str
    """For people: the series by its number, or the file."""
    patient: tuple[str, str, str] = ("", "", "")
    """Identifier, name and date of birth; empty where not told."""
    study: str = ""
    series: str = ""
    subject: str = ""
    """The ``sub-`` of a file's name."""

    @classmethod
    def of(cls, dataset: Dataset) -> Origin:
        """That of a DICOM object."""
        number = dataset.get("SeriesNumber")
        series = str(dataset.get("SeriesInstanceUID") or "")
        return cls(
            f"series {number}" if number is not None else f"series {series}",
            tuple(str(dataset.get(k) or "").strip() for k in ("PatientID", "PatientName", "PatientBirthDate")),  # type: ignore[arg-type]
            str(dataset.get("StudyInstanceUID") or ""),
            series,
        )


def check_one_case(origins: Iterable[Origin], place: object) -> None:
    """Refuse maps of several patients or studies; names and dates of birth count where identifiers are wanting.

    Raises
    ------
    UnreadableFileError
        with the series of each, and no identity
    """
    listed = list(dict.fromkeys(origins))
    identifiers = [{one.patient[0] for one in listed if one.patient[0]}]
    if any(not one.patient[0] for one in listed):
        identifiers += [{one.patient[k] for one in listed if one.patient[k]} for k in (1, 2)]
    identifiers.append({one.subject for one in listed if one.subject})
    for values, what in (*((v, "patients") for v in identifiers), ({o.study for o in listed if o.study}, "studies")):
        if len(values) > 1:
            labels = ", ".join(sorted({one.label for one in listed}))
            raise UnreadableFileError(
                f"{place} holds maps of {len(values)} {what} ({labels}): keep those of one, or give its folder"
            )


def joined(groups: Mapping[Origin, Sequence[_T]]) -> dict[Origin, list[_T]]:
    """The images by calculation: by series, but where every image is a series of its own, all in one.

    Some anonymisers draw the identifiers of every file anew.
    """
    if len(groups) > 1 and all(len(images) == 1 for images in groups.values()):
        return {next(iter(groups)): [image for images in groups.values() for image in images]}
    return {origin: list(images) for origin, images in groups.items()}
