"""Intervals of a model in every output of ``ctp-torch maps``: files, report, lesions, DICOM; none for strangers."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from ctp_torch.io import read_volume
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.models import load_model
from ctp_torch.pipeline.intervals import Band, Intervals, Neighbourhood

PROMISE = Intervals(
    level=0.9,
    patients=13,
    bands={
        "cbf": Band((0.0, 100.0), (-10.0, -20.0), (5.0, 30.0), 0.1),
        "tmax": Band((2.0,), (-1.0,), (1.0,), 0.0),
        "rel_cbf": Band((1.0,), (-0.5,), (0.5,), 0.0),
    },
    volumes={"core_ml": 1.0, "hypoperfusion_ml": 1.0, "mismatch_ml": 1.0},
    thresholds=asdict(Thresholds()),
)


def model_with(path, intervals, **more):
    """The physics student with a promise."""
    model = load_model("physics")
    model.save(path, metadata={**model.metadata_, **intervals.as_metadata(), **more})
    return path


def test_both_ends_reach_files_report_and_lesions(run, scan_folder, tmp_path):
    """Mutation seen red: the upper end written as the lower."""
    pytest.importorskip("highdicom")
    pydicom = pytest.importorskip("pydicom")
    model = model_with(tmp_path / "m.safetensors", PROMISE, thresholds=asdict(Thresholds()))
    out = tmp_path / "out"
    done = run("maps", scan_folder, "-o", out, "--model", model, "--formats", "nifti,pm,sr", "--registration", "none")
    assert done.code == 0, done.err
    mask = read_volume(out / "mask.nii.gz")[0] > 0
    lower, middle, upper = (read_volume(out / f"tmax{end}.nii.gz")[0][mask] for end in ("_lower", "", "_upper"))
    torch.testing.assert_close(lower, (middle - 1).clamp_min(0))
    torch.testing.assert_close(upper, middle + 1)
    for name in ("cbf_lower", "cbf_upper", "rel_cbf", "rel_cbf_lower"):
        assert (out / f"{name}.nii.gz").is_file()
        assert (out / "dicom" / "pm" / f"{name}.dcm").is_file()
    made = pydicom.dcmread(out / "dicom" / "pm" / "cbf_lower.dcm")
    mapping = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("CBF_LOWER", "99CTPTORCH")
    numbers = json.loads((out / "lesion.json").read_text(encoding="utf-8"))
    low, high = numbers["intervals_ml"]["hypoperfusion_ml"]
    assert low <= numbers["hypoperfusion_ml"] <= high
    assert f"({low:.0f}..{high:.0f}) mL" in done.out
    report = str(pydicom.dcmread(out / "dicom" / "sr" / "lesions.dcm"))
    assert "upper measurement uncertainty" in report
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "lower end" in page
    assert "upper end" in page


def test_strangers_get_maps_and_a_warning_but_no_promise(run, scan_folder, tmp_path):
    far = Neighbourhood((0.0,) * 52, ((1.0, *(0.0,) * 51),), (1e-9,), 1e-9, 1.0)
    model = model_with(tmp_path / "m.safetensors", replace(PROMISE, known={"bolus": far}))
    arguments = ["--model", model, "--registration", "none", "--no-report"]
    done = run("maps", scan_folder, "-o", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    assert "outside of what the model learned from by the shape of its bolus" in " ".join(done.err.split())
    assert (tmp_path / "out" / "cbf.nii.gz").is_file()
    assert not list((tmp_path / "out").glob("*_lower*"))
    assert ".." not in done.out
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert any("no intervals are given" in line for line in record["warnings"])


def test_own_thresholds_are_used_unless_others_are_asked_for(run, scan_folder, tmp_path):
    """And the promise of volumes belongs to the thresholds it was made with."""
    own = Thresholds(tmax=3.0, severe_tmax=5.0)
    model = model_with(tmp_path / "m.safetensors", PROMISE, thresholds=asdict(own))
    arguments = ["--model", model, "--registration", "none", "--no-report"]
    for name, more, tmax in (("own", [], 3.0), ("asked", ["--thresholds", tmp_path / "t.json"], 7.0)):
        (tmp_path / "t.json").write_text(json.dumps({"thresholds": {"tmax": 7.0}}), encoding="utf-8")
        done = run("maps", scan_folder, "-o", tmp_path / name, *arguments, *more)
        assert done.code == 0, done.err
        numbers = json.loads((tmp_path / name / "lesion.json").read_text(encoding="utf-8"))
        assert numbers["thresholds"]["tmax"] == tmax
        assert "intervals_ml" not in numbers
