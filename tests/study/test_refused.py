"""A scan that a student refuses is named, with what it said; nothing goes missing in silence."""

from types import SimpleNamespace

import pytest
import torch
from scenes import scan

from ctp_torch import pipeline
from ctp_torch.errors import ModelMismatchError
from ctp_torch.study.design import views
from ctp_torch.study.design.patients import make_ready
from ctp_torch.study.design.views import keep_views, load_view
from ctp_torch.study.output.tables import _refused_table


@pytest.mark.parametrize("refuses", [False, True])
def test_a_refusal_is_kept_and_told(tmp_path, monkeypatch, refuses):
    """Mutation seen red: the error passed over."""
    series, _ = scan(frames=45)
    aligned = pipeline.prepare(series, registration=None, slab_mm=0.0)
    targets = torch.zeros(4, *series.geometry.shape, dtype=torch.int16)
    ready, _ = make_ready(series, None, targets, name="P1", split="test")
    if refuses:

        def refuse(*_, **__):
            raise ModelMismatchError("the scan ends 12.0 s after the artery's onset")

        monkeypatch.setattr(views.pipeline, "predict", refuse)
    refused = keep_views(tmp_path, aligned, ready)
    assert (load_view(tmp_path, ready, "physics") is None) == refuses
    assert list(refused) == ["physics"] * refuses
    results = SimpleNamespace(
        study=SimpleNamespace(test=["P1", "P2"]), results={"patients/test/P1": {"refused": refused}}
    )
    table = _refused_table(results)
    assert len(table.rows) == refuses
    if refuses:
        assert table.rows[0] == ["P1", "physics student, no patient", "the scan ends 12.0 s after the artery's onset"]
