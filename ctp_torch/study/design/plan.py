"""A study as stages of steps: within a stage none needs another, and each depends on the stages before it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ctp_torch.study.design import patients
from ctp_torch.study.design.presets import Preset
from ctp_torch.study.design.sources import Drawn, Source
from ctp_torch.study.engine.steps import Step
from ctp_torch.study.work import floors, grids, lesions, models, robustness, scorecard
from ctp_torch.study.work.external import score_stranger

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

    source: Source
    preset: Preset
    train: list[str]
    test: list[str]
    scored: list[str]
    """Training patients whose maps are scored."""
    robust: list[str]
    """Test patients whose scans are degraded."""


def cohort_names(source: Source, preset: Preset) -> Study:
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
    seeds = [_seed_stages(study, seed) for seed in range(study.preset.seeds)]
    return [
        patient_stage(study),
        *_at_largest(seeds[0], study),
        *scorecard_stages(study),
        lesion_stage(study, calibrated),
        *robustness_stages(study),
        *external_stages(study, calibrated),
        *seeds[0],
        *grid_stages(study),
        *(stage for one in seeds[1:] for stage in _at_largest(one, study)),
        subtracted_stage(study),
        *(stage for one in seeds[1:] for stage in one),
    ]


def patient_stage(study: Study) -> Stage:
    """Scans made ready."""
    people = [(name, "test") for name in study.test] + [(name, "train") for name in study.train]
    steps = []
    for name, split in people:
        settings = {"source": study.source, "name": name, "split": split}
        steps.append(Step(f"patients/{split}/{name}", patients.prepare_patient, settings))
    return Stage("scanning and preparing patients", steps)


def scorecard_stages(study: Study) -> list[Stage]:
    """Floors, ceilings, truth."""
    common = _scoring(study)
    low = [Step(f"floors/{name}", floors.score_floor, {**common, "name": name}) for name in floors.FLOORS]
    low.append(Step("teachers", floors.score_teachers, common))
    low.append(Step(CALIBRATION, lesions.calibrate_teacher, {**_common(study), "names": study.train}))
    cards = [
        Step(f"cards/{name}", scorecard.card, {**common, "name": name, "widths": study.preset.widths})
        for name in study.test
    ]
    return [Stage("floors and ceilings", low), Stage("scorecard", cards)]


def subtracted_stage(study: Study) -> Stage:
    """The four models on curves without their baseline."""
    steps = [
        Step(f"subtracted/{name}", floors.score_subtracted, {**_scoring(study), "name": name}) for name in models.MODELS
    ]
    return Stage("without the baseline", steps)


def lesion_stage(study: Study, calibrated: Mapping[str, Any]) -> Stage:
    """Core and penumbra of the test patients, once the thresholds are known."""
    common = {**_common(study), "size": study.preset.sizes[-1], "calibrated": dict(calibrated)}
    return Stage(
        "core and penumbra",
        [Step(f"lesions/{name}", lesions.outline, {**common, "name": name}) for name in study.test],
    )


def grid_stages(study: Study) -> list[Stage]:
    """Hyper-parameters."""
    common = {**_common(study), "n_samples": study.preset.grid_samples}
    steps = [Step("grids/ridge", grids.ridge_grid, common)]
    for scale, gamma in grids.KERNELS:
        settings = {**common, "scale": scale, "gamma": gamma, "alphas": grids.ALPHAS}
        steps.append(Step(f"grids/kernel-{scale}-{gamma:g}", grids.kernel_grid, settings))
    for depth in grids.DEPTHS:
        for share in grids.FEATURES:
            settings = {**common, "depth": depth, "share": share, "trees": grids.TREES}
            steps.append(Step(f"grids/forest-{depth}-{share:.2f}", grids.forest_grid, settings))
    return [Stage("hyper-parameters", steps)]


def robustness_stages(study: Study) -> list[Stage]:
    """Degraded scans."""
    scans = [
        Step(f"scans/{name}", robustness.keep_scan, {"source": study.source, "name": name}) for name in study.robust
    ]
    common = {**_common(study), "size": study.preset.sizes[-1], "widths": (0.0, 2.0)}
    stand = [
        Step(f"robustness/{name}-{variant}", robustness.stand, {**common, "name": name, "variant": variant})
        for variant in robustness.possible(study.source, study.preset.variants)
        for name in study.robust
    ]
    return [Stage("scans to degrade", scans), Stage("robustness", stand)]


def _at_largest(listed: list[Stage], study: Study) -> list[Stage]:
    """Stages without the forests of smaller sizes."""
    largest = study.preset.sizes[-1]
    return [
        stage._replace(steps=[step for step in stage.steps if step.settings.get("size", largest) == largest])
        for stage in listed
    ]


def _seed_stages(study: Study, seed: int) -> list[Stage]:
    """Pixels, fits and scores of one seed."""
    preset = study.preset
    common = {**_common(study), "seed": seed, "sizes": preset.sizes, "scored": _scored(study, seed)}
    pool = Step(f"pool/{seed}", models.draw_pool, {**_common(study), "names": study.train,
                                                   "n_samples": preset.sizes[-1], "seed": seed})  # fmt: skip
    fit = Step(f"fits/krr-{seed}", models.fit_kernel_ridge, {**_common(study), "seed": seed, "sizes": preset.sizes})
    linear = [
        Step(f"scores/{name}-{seed}", models.score_linear, {**common, "name": name}) for name in ("linear", "ridge")
    ]
    forests = [
        Step(f"scores/rf-{seed}-{size}", models.score_forest, {**common, "size": size, "largest": preset.sizes[-1]})
        for size in reversed(preset.sizes)
    ]
    people = [(name, "test") for name in study.test] + [(name, "train") for name in _scored(study, seed).train]
    kernel = [
        Step(f"scores/krr-{seed}-{name}", models.score_kernel_ridge, {**common, "name": name, "split": split})
        for name, split in people
    ]
    word = f"seed {seed + 1} of {preset.seeds}"
    return [
        Stage(f"drawing pixels, {word}", [pool]),
        Stage(f"fitting, {word}", [fit, *linear, *forests]),
        Stage(f"kernel ridge, {word}", kernel),
    ]


def external_stages(study: Study, calibrated: Mapping[str, Any]) -> list[Stage]:
    """The other cohort, where the preset has one."""
    strangers = external_source(study)
    if strangers is None:
        return []
    settings = {**_common(study), "strangers": strangers, "size": study.preset.sizes[-1],
                "widths": study.preset.widths, "calibrated": dict(calibrated)}  # fmt: skip
    names = strangers.names("test")
    return [Stage("another cohort", [Step(f"external/{n}", score_stranger, {**settings, "name": n}) for n in names])]


def _scoring(study: Study) -> dict[str, Any]:
    """Settings of what is scored beside the models of the first seed."""
    return {**_common(study), "size": study.preset.sizes[-1], "names": study.train, "scored": _scored(study, 1)}


def _scored(study: Study, seed: int) -> models.Scored:
    """Who is scored: training patients for the first seed alone."""
    return models.Scored(study.test, [] if seed else study.scored, study.preset.widths, study.preset.curve_widths)


def _common(study: Study) -> dict[str, Any]:
    """What everything after the patients depends on."""
    return {"source": study.source, "sizes": study.preset.sizes}
