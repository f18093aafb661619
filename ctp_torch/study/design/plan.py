"""A study as stages of steps: within a stage none needs another, and each depends on the stages before it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ctp_torch.study.design import patients
from ctp_torch.study.design.presets import Preset
from ctp_torch.study.design.sources import Drawn, PatientSource
from ctp_torch.study.engine.steps import Step
from ctp_torch.study.work import floors, grids, lesions, models, robustness, scorecard
from ctp_torch.study.work.external import score_external

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
    first, *others = (_seed_stages(study, seed) for seed in range(study.preset.seeds))
    return [
        _patient_stage(study),
        *_at_largest(first, study),
        *_scorecard_stages(study),
        _lesion_stage(study, calibrated),
        *_robustness_stages(study),
        *_external_stages(study, calibrated),
        *first,
        _grid_stage(study),
        *(stage for seed in others for stage in _at_largest(seed, study)),
        Stage("without the baseline", _steps("subtracted/{name}", floors.score_subtracted, _named(models.MODELS),
                                             _scoring(study))),
        *(stage for seed in others for stage in seed),
    ]  # fmt: skip


def _steps(
    name: str, work: Callable[..., Any], cases: Iterable[Mapping[str, Any]], common: Mapping[str, Any]
) -> list[Step]:
    """One step a case: its settings are the common ones and the case's, which also fill in its name."""
    return [Step(name.format(**case), work, {**common, **case}) for case in cases]


def _named(names: Iterable[str], **more: Any) -> list[dict[str, Any]]:
    """A case for each name."""
    return [{"name": name, **more} for name in names]


def _patient_stage(study: Study) -> Stage:
    """Scans made ready."""
    people = _named(study.test, split="test") + _named(study.train, split="train")
    return Stage(
        "scanning and preparing patients",
        _steps("patients/{split}/{name}", patients.prepare_patient, people, {"source": study.source}),
    )


def _scorecard_stages(study: Study) -> list[Stage]:
    """Floors, ceilings, truth."""
    common, widths = _scoring(study), {"widths": study.preset.widths}
    low = _steps("floors/{name}", floors.score_floor, _named(floors.FLOORS), common)
    low.append(Step("teachers", floors.score_teachers, common))
    low.append(Step(CALIBRATION, lesions.calibrate_teacher, {**_common(study), "names": study.train}))
    cards = _steps("cards/{name}", scorecard.score_card, _named(study.test), {**common, **widths})
    return [Stage("floors and ceilings", low), Stage("scorecard", cards)]


def _lesion_stage(study: Study, calibrated: Mapping[str, Any]) -> Stage:
    """Core and penumbra of the test patients, once the thresholds are known."""
    common = {**_common(study), "size": study.largest, "calibrated": dict(calibrated)}
    return Stage("core and penumbra", _steps("lesions/{name}", lesions.outline, _named(study.test), common))


def _robustness_stages(study: Study) -> list[Stage]:
    """Degraded scans."""
    scans = _steps("scans/{name}", robustness.keep_scan, _named(study.robust), {"source": study.source})
    variants = robustness.possible_variants(study.source, study.preset.variants)
    cases = [{"name": name, "variant": variant} for variant in variants for name in study.robust]
    common = {**_common(study), "size": study.largest, "widths": (0.0, 2.0)}
    degraded = _steps("robustness/{name}-{variant}", robustness.score_degraded, cases, common)
    return [Stage("scans to degrade", scans), Stage("robustness", degraded)]


def _external_stages(study: Study, calibrated: Mapping[str, Any]) -> list[Stage]:
    """The other cohort, where the preset has one."""
    external = external_source(study)
    if external is None:
        return []
    common = {**_common(study), "external": external, "size": study.largest, "widths": study.preset.widths,
              "calibrated": dict(calibrated)}  # fmt: skip
    return [Stage("another cohort", _steps("external/{name}", score_external, _named(external.names("test")), common))]


def _grid_stage(study: Study) -> Stage:
    """Hyper-parameters."""
    common = {**_common(study), "n_samples": study.preset.grid_samples}
    kernels = [{"scale": scale, "gamma": gamma, "alphas": grids.ALPHAS} for scale, gamma in grids.KERNELS]
    forests = [{"depth": d, "share": share, "trees": grids.TREES} for d in grids.DEPTHS for share in grids.FEATURES]
    return Stage("hyper-parameters", [
        Step("grids/ridge", grids.ridge_grid, common),
        *_steps("grids/kernel-{scale}-{gamma:g}", grids.kernel_grid, kernels, common),
        *_steps("grids/forest-{depth}-{share:.2f}", grids.forest_grid, forests, common),
    ])  # fmt: skip


def _seed_stages(study: Study, seed: int) -> list[Stage]:
    """Pixels, fits and scores of one seed."""
    sizes, scored = study.preset.sizes, _scored(study, seed)
    fit = {**_common(study), "seed": seed}
    score = {**fit, "scored": scored}
    pool = Step(f"pool/{seed}", models.draw_pool, {**fit, "names": study.train, "n_samples": study.largest})
    forests = [{"size": size, "largest": study.largest} for size in reversed(sizes)]
    people = _named(study.test, split="test") + _named(scored.train, split="train")
    word = f"seed {seed + 1} of {study.preset.seeds}"
    return [
        Stage(f"drawing pixels, {word}", [pool]),
        Stage(f"fitting, {word}", [
            Step(f"fits/krr-{seed}", models.fit_kernel_ridge, fit),
            *_steps(f"scores/{{name}}-{seed}", models.score_linear, _named(("linear", "ridge")), score),
            *_steps(f"scores/rf-{seed}-{{size}}", models.score_forest, forests, score),
        ]),
        Stage(f"kernel ridge, {word}", _steps(f"scores/krr-{seed}-{{name}}", models.score_kernel_ridge, people, score)),
    ]  # fmt: skip


def _at_largest(listed: list[Stage], study: Study) -> list[Stage]:
    """Stages without the forests of smaller sizes."""
    n = study.largest
    return [Stage(title, [step for step in steps if step.settings.get("size", n) == n]) for title, steps in listed]


def _scoring(study: Study) -> dict[str, Any]:
    """Settings of what is scored beside the models of the first seed."""
    return {**_common(study), "size": study.largest, "names": study.train, "scored": _scored(study, 1)}


def _scored(study: Study, seed: int) -> models.Scored:
    """Who is scored: training patients for the first seed alone."""
    return models.Scored(study.test, [] if seed else study.scored, study.preset.widths, study.preset.curve_widths)


def _common(study: Study) -> dict[str, Any]:
    """What everything after the patients depends on."""
    return {"source": study.source, "sizes": study.preset.sizes}
