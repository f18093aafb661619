"""What the page and the summary say in words: what was done, how to read it, what is missing."""

from __future__ import annotations

from ctp_torch.report.tables import MODEL_LABELS
from ctp_torch.study.design.plan import external_source
from ctp_torch.study.design.sources import Drawn
from ctp_torch.study.engine.running import StudyResults
from ctp_torch.study.work.floors import FLOORS
from ctp_torch.study.work.students import STUDENTS

__all__ = ["LEAD", "facts_of", "filtered", "label_of", "notes_of"]

_LABELS = {
    **MODEL_LABELS,
    **{f"floor_{name}": label for name, label in FLOORS.items()},
    **{f"subtracted_{name}": f"{label}, baseline subtracted" for name, label in MODEL_LABELS.items()},
    **{name: student.words for name, student in STUDENTS.items()},
    "teacher": "teacher (cSVD 0.1)",
    "teacher_csvd_20": "teacher: cSVD 0.2",
    "teacher_osvd": "teacher: oSVD",
    "teacher_ssvd": "teacher: sSVD",
    "teacher_tikhonov": "teacher: Tikhonov",
}

LEAD = (
    "Four regressors learned the maps of a cSVD deconvolution from single time curves of training patients; here they"
    " meet patients they never saw. SSIM compares 8-bit colour indices (range 255); means over patients with 95 % "
    "bootstrap intervals over patients. The background is the same in both maps and lifts the whole-frame score, so "
    "the brain-only score and r stand beside it. Every model is scored at the same filter widths, and against floors "
    "that know little, other teachers, and the truth. The patients are digital: scores say how methods compare, not "
    "how a scanner's patients would score."
)


def label_of(name: str) -> str:
    """A predictor in words."""
    return _LABELS.get(name, name)


def filtered(width: float, what: str = "all") -> str:
    """A filter width in words."""
    return f"{what} filtered, Gaussian {width:g} px" if width else "unfiltered"


def facts_of(results: StudyResults) -> dict[str, object]:
    """Settings of the study."""
    study = results.study
    preset, source = study.preset, study.source
    facts: dict[str, object] = {"preset": preset.name}
    if isinstance(source, Drawn):
        facts["cohort"] = (
            f"{len(study.train)} training and {len(study.test)} test patients, digital, seed {source.seed}, "
            f"{source.size} x {source.size}, 6 slices, 60 frames of 1 s, {source.noise_hu:g} HU of noise at 512 x 512"
        )
    else:
        facts["cohort"] = f"{len(study.train)} training and {len(study.test)} test patients of a folder"
    widths = [one.get("aif_fwhm_s") for name, one in results.results.items() if name.startswith("patients/train")]
    known = [w for w in widths if w is not None]
    if known:
        facts["width of the training patients' boluses [s]"] = f"{min(known):g} to {max(known):g}"
    facts["teacher"] = "cSVD, threshold 0.1, on the same noisy scans, aligned, Gaussian of 2 mm"
    facts["models"] = "linear, ridge (alpha 0.1), kernel ridge (alpha 0.1, gamma 8), forest (90 trees, depth 55)"
    facts["training pixels"] = f"{preset.sizes[-1]:,}; curves at {', '.join(f'{n:,}' for n in preset.sizes)}"
    facts["seeds"] = f"{preset.seeds} draws of pixels (and forests)"
    facts["training scores"] = f"on {len(study.scored)} of {len(study.train)} training patients, first seed"
    facts["scorecard, lesions, robustness"] = "models of the first seed, largest size"
    facts["degraded scans"] = f"{len(study.robust)} test patients"
    external = external_source(study)
    if external is not None:
        facts["another cohort"] = (
            f"{external.patients} patients, seed {external.seed}, boluses {external.bolus_stretch:g} times as wide, "
            f"{external.noise_hu:g} HU of noise; scored once"
        )
    facts["steps"] = f"{len(results.results)} done" + (f", {len(results.missing)} missing" if results.missing else "")
    return facts


def notes_of(results: StudyResults) -> list[str]:
    """Paragraphs on how to read the tables."""
    notes = [
        "Filter widths are standard deviations of a Gaussian on the predictions of *every* model; the teacher is "
        "never filtered when it is the reference. Against the truth, teacher and students are filtered alike. "
        "*Tissue* is grey and white matter without fluid and large vessels, *lesion* is true core and penumbra. cSVD "
        "reads flow low, so SSIM and error against the truth contain its bias; r does not.",
        "",
        "Floors learn from the same pixels: a constant; a constant for each true tissue; a forest (30 trees, 25 "
        "samples a leaf) on one number of the curve. *Baseline subtracted* are the four models on curves less their "
        "mean before contrast. Other teachers are other deconvolutions of the same scan, scored as if they were "
        "students.",
        "",
        "Degraded scans reach the students resampled to their 60 frames of 1 s (monotone cubic; what is missing at "
        "the end is held at the last value); the teacher deconvolves them as they are.",
    ]
    if results.missing:
        notes += ["", f"**Missing steps ({len(results.missing)})**: {', '.join(sorted(results.missing))}."]
    return notes
