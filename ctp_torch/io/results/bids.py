"""Maps as the tree that stroke cohorts are shared in: ``sub-X/ses-Y/perf``, named as BIDS names derivatives."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.maps import named_quantity
from ctp_torch.errors import CTPError
from ctp_torch.io.atomic import whole
from ctp_torch.io.nifti.nifti import write_volume

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.io.results.write_maps import Output

__all__ = ["BidsName", "describe_dataset", "write_bids"]

_IGNORED = (
    "**/perf/**\n**/dicom/**\n**/report*\n**/run.json\n**/lesion.*\n**/motion.*\n**/*.png\n**/*.html\n**/.ctp-torch*\n"
)
"""BIDS has no CT yet: validators are told to pass over what they can't know."""


class BidsName(NamedTuple):
    """Whose maps they are, and which scan, in labels of letters and digits; never a patient's identity."""

    subject: str
    session: str = "01"

    @classmethod
    def parse(cls, text: str) -> BidsName:
        """``SUBJECT`` or ``SUBJECT/SESSION``, with or without ``sub-`` and ``ses-``.

        Raises
        ------
        CTPError
            when a label holds anything but letters and digits
        """
        subject, _, session = text.partition("/")
        name = cls(subject.removeprefix("sub-"), session.removeprefix("ses-") or "01")
        if not all(re.fullmatch(r"[0-9A-Za-z]+", label) for label in name):
            raise CTPError(f"{text!r} is no BIDS label: give SUBJECT or SUBJECT/SESSION, letters and digits only")
        return name

    @property
    def folder(self) -> Path:
        """``sub-X/ses-Y``."""
        return Path(f"sub-{self.subject}") / f"ses-{self.session}"

    def file(self, description: str, suffix: str) -> str:
        """``sub-X_ses-Y_desc-D_suffix``."""
        return f"sub-{self.subject}_ses-{self.session}_desc-{description}_{suffix}"


def write_bids(folder: Path, output: Output, name: BidsName, *, method: str, facts: Mapping[str, object]) -> list[Path]:
    """Maps and masks under ``perf/`` of a session's folder, a JSON with unit and provenance beside each map.

    Parameters
    ----------
    folder
        of the session; exists
    output
        maps, and lesions where there are any
    name
        subject and session
    method
        how the maps were made, for the file names
    facts
        more for the JSON files

    Returns
    -------
    list
        the files
    """
    maps, lesions = output.maps, output.lesions
    place = folder / "perf"
    place.mkdir(exist_ok=True)
    description = re.sub(r"[^0-9A-Za-z]", "", method) or "maps"
    masks: dict[str, Tensor] = {"brain": maps.mask}
    if lesions is not None:
        masks |= {"core": lesions.core, "penumbra": lesions.penumbra, "hypoperfusion": lesions.hypoperfusion}
    paths = []
    for quantity, volume in maps.values.items():
        definition = named_quantity(quantity)
        stem = name.file(description, quantity)
        paths.append(
            write_volume(
                place / f"{stem}.nii.gz", volume.float(), maps.geometry, note=f"{definition.label} [{definition.unit}]"
            )
        )
        page = {
            "Quantity": definition.label,
            "Units": definition.unit,
            "Description": definition.code[1],
            "Method": method,
            **facts,
        }
        paths.append(place / f"{stem}.json")
        paths[-1].write_text(json.dumps(page, indent=2, default=str) + "\n", encoding="utf-8")
    if output.baseline is not None:
        path = place / f"{name.file('baseline', 'ct')}.nii.gz"
        paths.append(write_volume(path, output.baseline.float(), maps.geometry, note="CT before contrast [HU]"))
    for kind, mask in masks.items():
        path = place / f"{name.file(kind, 'mask')}.nii.gz"
        paths.append(write_volume(path, mask.byte(), maps.geometry, note=f"{kind} mask"))
    return paths


def describe_dataset(root: Path) -> None:
    """``dataset_description.json`` and ``.bidsignore`` of a tree, unless they are there."""
    page = {
        "Name": "CT perfusion maps",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "ctp_torch", "Version": version("ctp-torch")}],
    }
    for name, text in (("dataset_description.json", json.dumps(page, indent=2) + "\n"), (".bidsignore", _IGNORED)):
        if not (root / name).exists():
            with whole(root / name) as partial:
                partial.write_text(text, encoding="utf-8")
