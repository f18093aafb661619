"""``maps --regions`` and ``compare``: ours against ours, against colours, cohort against cohort."""

import csv
import json

import pydicom
import pytest
from scenes import write_toy_cohort

QUICK = ("--registration", "none", "--no-report", "--device", "cpu")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_maps_in_regions_are_held_against_another_method_and_against_colours(run, tmp_path):
    """Mutations seen red: the regions of B; colours read over other ranges; a report without its regions."""
    write_toy_cohort(tmp_path / "cohort", train=1, test=0)
    series, colors = tmp_path / "cohort" / "p00" / "ct", tmp_path / "cohort" / "p00" / "maps"
    done = run("maps", series, "-o", tmp_path / "a", *QUICK, "--regions", "--formats", "nifti,sr")
    assert done.code == 0, done.err
    assert run("maps", series, "-o", tmp_path / "b", "--method", "ssvd", *QUICK).code == 0
    regions = rows_of(tmp_path / "a" / "regions.csv")
    assert {row["scheme"] for row in regions} >= {"lobes", "territories", "tissues"}
    whole = sum(float(row["volume_ml"]) for row in regions if row["scheme"] == "territories")
    lesion = json.loads((tmp_path / "a" / "lesion.json").read_text())
    inside = sum(float(row["hypoperfusion_ml"]) for row in regions if row["scheme"] == "territories")
    assert inside <= lesion["hypoperfusion_ml"] + 0.1
    assert whole > 50
    report = pydicom.dcmread(tmp_path / "a" / "dicom" / "sr" / "regions.dcm")
    assert report.Modality == "SR"
    assert all(row["region"].rpartition(" ")[0] in str(report) for row in regions if row["scheme"] == "lobes")

    done = run("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "compared")
    assert done.code == 0, done.err
    assert "mean cbf" in done.out
    rows = rows_of(tmp_path / "compared" / "maps.csv")
    assert {"brain", "core of A"} <= {row["place"] for row in rows}
    assert any(row["place"].startswith("lobes: frontal") for row in rows)
    done = run("compare", tmp_path / "a", colors, "-o", tmp_path / "colors", "--lut", "jet")
    assert done.code == 0, done.err
    brain = {row["map"]: row for row in rows_of(tmp_path / "colors" / "maps.csv") if row["place"] == "brain"}
    assert float(brain["tmax"]["r"]) > 0.9
    assert abs(float(brain["tmax"]["bias"])) < 0.2
    assert run("compare", tmp_path / "a", tmp_path / "a" / "dicom", "-o", tmp_path / "c", "--variants", "a,b").code == 1


@pytest.mark.slow
def test_two_variants_of_a_cohort(run, tmp_path):
    """Mutation seen red: cases paired by their numbers, whatever failed."""
    write_toy_cohort(tmp_path / "cohort", train=2, test=0)
    table = tmp_path / "cases.csv"
    table.write_text("path\ncohort/p00/ct\ncohort/p01/ct\ncohort/cohort.json\n")
    done = run("cohort", "run", table, "-o", tmp_path / "out", "--method", "csvd,ssvd", *QUICK, "-q")
    assert done.code == 8
    out = tmp_path / "out"
    assert run("compare", out, out, "-o", tmp_path / "none").code == 1
    done = run("compare", out, out, "-o", tmp_path / "compared", "--variants", "csvd,ssvd")
    assert done.code == 0, done.err
    assert len({row["case"] for row in rows_of(tmp_path / "compared" / "maps.csv")}) == 2
    assert rows_of(tmp_path / "compared" / "patients.csv")[0]["n"] == "2"
