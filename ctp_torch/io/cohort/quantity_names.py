"""Which perfusion quantity a file name, a series description or a code speaks of."""

from __future__ import annotations

import re

__all__ = ["quantity_in"]

_WORDS = {
    "cbv": r"r?CBV",
    "cbf": r"r?CBF",
    "mtt": r"r?MTT",
    "tmax": r"T_?MAX",
    "ttp": r"TTP",
    "cth": r"CTH",
    "oefmax": r"OEF_?MAX",
}


def quantity_in(text: str) -> str | None:
    """The one quantity that a text names (rCBV, CBF, MTT, Tmax, TTP, CTH, OEFmax), None when it names none or several.

    A name counts where no letter touches it: ``sub-1_cbf.nii.gz``, ``CT_Tmax.123``, ``NLR_CBF012``.
    """
    quantities = [
        name for name, word in _WORDS.items() if re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE)
    ]
    return quantities[0] if len(quantities) == 1 else None
