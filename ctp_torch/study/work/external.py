"""The cohort at the end, which nothing was chosen on: scored once with the study's models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctp_torch.study.design.patients import load_patient, prepare_patient
from ctp_torch.study.design.sources import PatientSource
from ctp_torch.study.work.lesions import outline
from ctp_torch.study.work.models import MODELS, keep_prediction, score_values, stored_model
from ctp_torch.study.work.scorecard import score_card

__all__ = ["score_external"]


def score_external(
    folder: Path, *, external: PatientSource, name: str, size: int, widths: Sequence[float],
    calibrated: dict[str, Any], **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """Scores, card and lesions of one patient of the other cohort."""
    apart = folder / "external"
    facts = prepare_patient(apart, source=external, name=name, split="test")
    patient, _context = load_patient(apart, name, "test")
    rows = []
    for model in MODELS:
        values = stored_model(folder, model).predict(patient.curves)
        keep_prediction(apart, model, name, values)
        rows += score_values((model, 0, size), values, patient, widths)
    card, lesions = score_card(apart, name=name, widths=widths), outline(apart, name=name, calibrated=calibrated)
    return {"facts": facts, "scores": rows, "card": card, "lesions": lesions}
