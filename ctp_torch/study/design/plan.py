"""A study as stages of steps: within a stage none needs another, and each depends on the stages before it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ctp_torch.study.design.patients import prepare_patient
from ctp_torch.study.design.presets import Preset
from ctp_torch.study.design.sources import Drawn, PatientSource
from ctp_torch.study.engine.steps import Step
from ctp_torch.study.work import floors, grids, lesions, models, robustness, students
from ctp_torch.study.work.external import score_external
from ctp_torch.study.work.scorecard import score_card

__all__ = ["CALIBRATION", "Stage", "Study", "cohort_names", "external_source", "stages"]

CALIBRATION = "lesions/calibration"
"""The step that finds the lesion thresholds."""


class Stage(NamedTuple):
    """Steps that may run side by side."""

    title: str
    """For the progress bar."""
    steps: list[Step]


class Study(NamedTuple):
    """Who is in a study."""

    source: PatientSource
    preset: Preset
    train: list[str]
    test: list[str]
    scored: list[str]
    """Training patients whose maps are scored."""
    robust: list[str]
    """Test patients whose scans are degraded."""

    @property
    def largest(self) -> int:
        """The study's own training size [pixels]."""
        return self.preset.sizes[-1]


def cohort_names(source: PatientSource, preset: Preset) -> Study:
    """The patients' parts in a study; nothing depends on how they score."""
    train, test = source.names("train"), source.names("test")
    n = min(preset.train_scored, len(train))
    scored = [train[int((k + 0.5) * len(train) / n)] for k in range(n)]
    return Study(source, preset, train, test, scored, test[: preset.robust_patients])


def external_source(study: Study) -> Drawn | None:
    """Another cohort for the end: other seeds, a bolus 1.25 times as wide, 7 HU of noise instead of 5."""
    if not study.preset.external:
        return None
    seed = (study.source.seed if isinstance(study.source, Drawn) else 0) + 5000
    return Drawn(seed, study.preset.external, 0, study.preset.size, noise_hu=7.0, bolus_stretch=1.25)


def stages(study: Study, calibrated: Mapping[str, Any]) -> list[Stage]:
    """Everything but tables and pictures, what others build on first.

    Parameters
    ----------
    study
        who is in it
    calibrated
        result of the step ``lesions/calibration``; empty while it isn't done
    """
    preset, largest = study.preset, study.largest
    common = {"source": study.source, "sizes": preset.sizes}
    sized = {**common, "size": largest}
    scoring = {**sized, "names": study.train, "scored": _scored(study, 1)}
    thresholds = {"calibrated": dict(calibrated)}
    tests, all_patients = _named(study.test), _named(study.test, split="test") + _named(study.train, split="train")
    variants = robustness.possible_variants(study.source, preset.variants)
    degraded = [{"name": name, "variant": variant} for variant in variants for name in study.robust]
    external = external_source(study)
    external_tests = _named(external.names("test") if external else [])
    kernels = [{"scale": scale, "gamma": gamma, "alphas": grids.ALPHAS} for scale, gamma in grids.KERNELS]
    forests = [{"depth": d, "share": share, "trees": grids.TREES} for d in grids.DEPTHS for share in grids.FEATURES]
    grid = {**common, "n_samples": preset.grid_samples}
    first, *others = (_seed_stages(study, seed) for seed in range(preset.seeds))
    listed = [
        Stage("scanning and preparing patients",
              _steps("patients/{split}/{name}", prepare_patient, all_patients, {"source": study.source})),
        *_at_largest(first, largest),
        Stage("floors and ceilings", [
            *_steps("floors/{name}", floors.score_floor, _named(floors.FLOORS), scoring),
            Step("teachers", floors.score_teachers, scoring),
            *_steps("students/{name}", students.score_student, _named(students.STUDENTS), scoring),
            Step(CALIBRATION, lesions.calibrate_teacher, {**common, "names": study.train}),
        ]),
        Stage("scorecard", _steps("cards/{name}", score_card, tests, {**scoring, "widths": preset.widths})),
        Stage("core and penumbra", _steps("lesions/{name}", lesions.outline, tests, {**sized, **thresholds})),
        Stage("scans to degrade",
              _steps("scans/{name}", robustness.keep_scan, _named(study.robust), {"source": study.source})),
        Stage("robustness", _steps("robustness/{name}-{variant}", robustness.score_degraded, degraded,
                                   {**sized, "widths": (0.0, 2.0)})),
        Stage("another cohort", _steps("external/{name}", score_external, external_tests,
                                       {**sized, **thresholds, "external": external, "widths": preset.widths})),
        *first,
        Stage("hyper-parameters", [
            Step("grids/ridge", grids.ridge_grid, grid),
            *_steps("grids/kernel-{scale}-{gamma:g}", grids.kernel_grid, kernels, grid),
            *_steps("grids/forest-{depth}-{share:.2f}", grids.forest_grid, forests, grid),
        ]),
        *(stage for seed in others for stage in _at_largest(seed, largest)),
        Stage("without the baseline",
              _steps("subtracted/{name}", floors.score_subtracted, _named(models.MODELS), scoring)),
        *(stage for seed in others for stage in seed),
    ]  # fmt: skip
    return [stage for stage in listed if stage.steps]


def _seed_stages(study: Study, seed: int) -> list[Stage]:
    """Pixels, fits and scores of one seed."""
    scored, largest = _scored(study, seed), study.largest
    fit = {"source": study.source, "sizes": study.preset.sizes, "seed": seed}
    score = {**fit, "scored": scored}
    forests = [{"size": size, "largest": largest} for size in reversed(study.preset.sizes)]
    people = _named(study.test, split="test") + _named(scored.train, split="train")
    word = f"seed {seed + 1} of {study.preset.seeds}"
    return [
        Stage(f"drawing pixels, {word}",
              [Step(f"pool/{seed}", models.draw_pool, {**fit, "names": study.train, "n_samples": largest})]),
        Stage(f"fitting, {word}", [
            Step(f"fits/krr-{seed}", models.fit_kernel_ridge, fit),
            *_steps(f"scores/{{name}}-{seed}", models.score_linear, _named(("linear", "ridge")), score),
            *_steps(f"scores/rf-{seed}-{{size}}", models.score_forest, forests, score),
        ]),
        Stage(f"kernel ridge, {word}", _steps(f"scores/krr-{seed}-{{name}}", models.score_kernel_ridge, people, score)),
    ]  # fmt: skip


def _steps(
    name: str, work: Callable[..., Any], cases: Iterable[Mapping[str, Any]], common: Mapping[str, Any]
) -> list[Step]:
    """One step a case: its settings are the common ones and the case's, which also fill in its name."""
    return [Step(name.format(**case), work, {**common, **case}) for case in cases]


def _named(names: Iterable[str], **more: Any) -> list[dict[str, Any]]:
    """A case for each name."""
    return [{"name": name, **more} for name in names]


def _at_largest(listed: list[Stage], size: int) -> list[Stage]:
    """Stages without the forests of smaller sizes."""
    return [Stage(title, [s for s in steps if s.settings.get("size", size) == size]) for title, steps in listed]


def _scored(study: Study, seed: int) -> models.Scored:
    """Who is scored: training patients for the first seed alone."""
    return models.Scored(study.test, [] if seed else study.scored, study.preset.widths, study.preset.curve_widths)
