"""A small study from a folder of patients: steps, tables, page, and the same numbers when it is done again."""

import json

import pytest
import torch
from scenes import write_toy_cohort

from ctp_torch.errors import CTPError
from ctp_torch.models import KernelRidge
from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.design.plan import cohort_names, external_source, stages
from ctp_torch.study.design.presets import PRESETS, choose
from ctp_torch.study.design.rows import ScoreRow
from ctp_torch.study.design.sources import Drawn, open_folder
from ctp_torch.study.engine.running import collect
from ctp_torch.study.engine.steps import load_step
from ctp_torch.study.engine.workers import share_out
from ctp_torch.study.output.delivery import deliver
from ctp_torch.study.work.models import load_pool

SMALL = PRESETS["quick"]._replace(
    sizes=(100, 150, 200), seeds=1, grid_samples=80, train_scored=1, robust_patients=1, variants=("every_2nd",)
)
CHEAP = (
    "patients",
    "pool",
    "fits",
    "scores/linear",
    "scores/ridge",
    "scores/krr",
    "floors/constant",
    "floors/peak",
    "students/student_krr",
    "students/student_physics",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with its cheap steps done; forests are left out."""
    folder = tmp_path_factory.mktemp("study")
    cohort = write_toy_cohort(folder / "cohort", train=3, test=2)
    plan = cohort_names(open_folder(cohort), SMALL)
    steps = folder / "steps"
    steps.mkdir()
    for stage in stages(plan, {}):
        chosen = [step for step in stage.steps if step.name.startswith((*CHEAP, "grids/ridge", "grids/kernel-unit-8"))]
        list(share_out(steps, chosen))
    return folder, plan


@pytest.mark.slow
def test_the_pool_is_nested_and_kernel_ridge_of_every_size_is_its_own_fit(study):
    """The learning curve's model of 150 pixels is the model fitted to the first 150.

    Mutation seen red: sizes zipped in reverse.
    """
    folder, plan = study
    pool = load_pool(folder / "steps", 0)
    assert pool.curves.shape == (200, 40)
    counts = torch.bincount(pool.patient[:100], minlength=3)
    assert counts.min() > 15  # shuffled: a prefix holds all patients
    ready, _ = load_patient(folder / "steps", plan.test[0], "test")
    results = {s.name: load_step(folder / "steps", s) for stage in stages(plan, {}) for s in stage.steps}
    rows = results[f"scores/krr-0-{plan.test[0]}"]
    from ctp_torch.study.work.models import score_values

    for size in SMALL.sizes:
        model = KernelRidge(alpha=0.1, gamma=8.0).fit(pool.curves[:size], pool.targets[:size])
        widths = SMALL.widths if size == 200 else SMALL.curve_widths
        again = score_values(("krr", 0, size), model.predict(ready.curves), ready, widths)
        mine = [row for row in map(ScoreRow.read, rows) if row.size == size]
        assert len(mine) == len(again) == 3 * 4 * len(widths)
        frame = torch.tensor([[a.ssim_frame, b.ssim_frame] for a, b in zip(mine, again, strict=True)])
        torch.testing.assert_close(frame[:, 0], frame[:, 1], rtol=0, atol=2e-4)


@pytest.mark.slow
def test_what_is_there_is_delivered_and_what_is_missing_is_said(study, tmp_path):
    folder, plan = study
    known = collect(folder / "steps", plan)
    assert any(name.startswith("scores/rf") for name in known.missing)
    out = tmp_path / "out"
    deliver(folder / "steps", out, known, facts={"machine": "test"})
    summary = (out / "results.md").read_text(encoding="utf-8")
    assert "Missing steps" in summary
    assert "Table 2: testing SSIM [%], whole frame, unfiltered, 2 patients" in summary
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert "table2_ssim_frame_0px" in record["tables"]
    assert (out / "tables" / "table2_ssim_frame_0px.csv").is_file()
    floors = (out / "tables" / "floors_0px.csv").read_text(encoding="utf-8")
    assert "kernel ridge, arterial features of 3 x 3 medians" in floors
    assert (out / "figures" / "figure2.png").read_bytes().startswith(b"\x89PNG")
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    before = (out / "tables" / "floors_0px.csv").read_bytes()
    deliver(folder / "steps", out, collect(folder / "steps", plan), facts={"machine": "test"})
    assert (out / "tables" / "floors_0px.csv").read_bytes() == before


def test_presets():
    assert PRESETS["paper"].sizes == (5000, 7500, 10000, 12500, 15000, 17500, 20000, 22500, 25000)
    assert choose("paper", size=512).size == 512
    with pytest.raises(CTPError, match="choose among quick, paper"):
        choose("large")


def test_the_parts_of_a_study():
    """Nobody trains and tests; the other cohort shares no seed."""
    preset = PRESETS["paper"]
    study = cohort_names(Drawn(2021, preset.patients, preset.train, preset.size), preset)
    assert (len(study.train), len(study.test)) == (30, 8)
    assert not set(study.train) & set(study.test)
    assert set(study.scored) <= set(study.train)
    assert set(study.robust) <= set(study.test)
    external = external_source(study)
    assert external.seed != 2021
    assert external.bolus_stretch != 1.0
    names = [step.name for stage in stages(study, {}) for step in stage.steps]
    assert len(set(names)) == len({(s.name, str(s.settings)) for stage in stages(study, {}) for s in stage.steps})


def test_a_cohort_without_test_patients_is_refused(tmp_path):
    from ctp_torch.io import write_cohort_index

    write_cohort_index(tmp_path / "c", {"a": "train", "b": "train"}, {})
    with pytest.raises(CTPError, match="test patients"):
        open_folder(tmp_path / "c")


@pytest.mark.slow
def test_a_stretched_bolus_is_wider_and_has_its_area():
    """Mutation seen red: stretching without lowering the peak."""
    from ctp_torch.phantom.patient import draw_person

    plain, wide = (draw_person(3, 1, bolus_stretch=s).physiology.bolus for s in (1.0, 1.6))
    assert wide.alpha * wide.b == pytest.approx(1.6 * plain.alpha * plain.b)
    assert wide.area == pytest.approx(plain.area, rel=1e-6)
