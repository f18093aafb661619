"""Which perfusion quantity a file name, a series description or a code speaks of, and whether it is a mask of it."""

from __future__ import annotations

import re

__all__ = ["is_mask_name", "quantity_in"]

_GAP = "[ _-]*"
_WORDS = {
    "cbv": rf"r?CBV|(?:cerebral{_GAP})?blood{_GAP}volume",
    "cbf": rf"r?CBF|(?:cerebral{_GAP})?blood{_GAP}flow",
    "mtt": rf"r?MTT|mean{_GAP}transit{_GAP}time",
    "tmax": rf"T{_GAP}MAX|time{_GAP}to{_GAP}max(?:imum)?",
    "ttp": rf"TTP|time{_GAP}to{_GAP}peak",
    "cth": r"CTH",
    "oefmax": r"OEF_?MAX",
}
_MASK = re.compile(
    r"(?<![a-z])(?:masks?|msk|seg|segmentations?|labels?|lesions?|core|penumbra|infarct|hypoperf\w*|thresh\w*|rois?|"
    r"overlays?|mismatch)(?![a-z])|[<>≤≥]|(?<![a-z])(?:lt|gt|below|above|under|over)[ _-]?\d",
    re.IGNORECASE,
)


def quantity_in(text: str) -> str | None:
    """The one quantity that a text names (rCBV, CBF, MTT, Tmax, TTP, CTH, OEFmax), None when it names none or several.

    A name counts where no letter touches it: ``sub-1_cbf.nii.gz``, ``CT_Tmax.123``, ``NLR_CBF012``; spelt out as well:
    ``Cerebral Blood Flow``, ``TimeToPeak``.
    """
    quantities = [
        name for name, word in _WORDS.items() if re.search(rf"(?<![a-z])(?:{word})(?![a-z])", text, re.IGNORECASE)
    ]
    return quantities[0] if len(quantities) == 1 else None


def is_mask_name(text: str) -> bool:
    """Whether a name speaks of a mask or a threshold: ``Tmax6_mask``, ``CBF<30%``, ``tmax_gt6``, ``CBF core``."""
    return _MASK.search(text) is not None
