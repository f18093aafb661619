"""Calibration finds the thresholds that made the maps.

Mutations that these tests catch: the Tmax threshold from the core's error; the largest instead of the smallest error;
comparing with the truth in voxels instead of mL.
"""

import json
import math

import pytest
import torch
from oracles.lesions import drawn
from oracles.vessels import head

from ctp_torch.cli.calibrate import calibrate as calibrate_cohort
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import CTPError
from ctp_torch.io import write_cohort_index, write_nifti_series, write_volume
from ctp_torch.lesions.calibration import CalibrationCase, CalibrationRow, calibrate, compare, false_cores
from ctp_torch.lesions.find import survey
from ctp_torch.lesions.normal import TISSUE_MM
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds
from ctp_torch.models import load_model

ANY_SIZE = Thresholds(min_core_ml=0.0, min_hypoperfusion_ml=0.0)
GRID = {"tmax_grid": (5.0, 6.0, 7.0, 8.0, 9.0), "rcbf_grid": tuple(0.2 + 0.025 * i for i in range(12))}


def graded(scale, *, squeeze=1.0, delay=0.0):
    """A patient whose flow falls and Tmax grows towards the middle; truth: flow below 25 %, Tmax above 7 s."""
    maps, _, _ = drawn(64, 4, 10.0, lesions=0, white=False)
    n = 64
    y, x = torch.meshgrid((torch.arange(n) - 31.5) * 3.4375, (torch.arange(n) - 31.5) * 3.4375, indexing="ij")
    depth = (1.0 - torch.hypot(x - 32, y) / (38.0 * scale)).clamp_min(0.0).expand(4, n, n)
    flow, time = 1.0 - 0.98 * depth.sqrt(), 1.5 + 12.0 * depth
    core, slow = (flow < 0.25) & maps.mask, (time > 7.0) & maps.mask
    measured = 45.0 * flow**squeeze
    values = {"cbf": measured * maps.mask, "cbv": 3.0 * maps.mask, "tmax": (time + delay) * maps.mask}
    return PerfusionMaps(values, maps.mask, maps.geometry), core & slow, slow


def case(name, *args, **options):
    maps, core, slow = graded(*args, **options)
    return CalibrationCase(name, survey(maps, sigma_mm=0.0), core, slow)


def test_the_thresholds_that_made_the_truth_are_found():
    cases = [case(str(scale), scale) for scale in (0.7, 0.9, 1.1)]
    found = calibrate(cases, method="ideal", start=ANY_SIZE, **GRID)
    assert found.thresholds.tmax == 7.0
    assert found.thresholds.rcbf == pytest.approx(0.25)
    assert found.thresholds.method == "ideal"
    assert found.thresholds.severe_tmax > 7.0
    assert found.tmax_errors[7.0] < 0.5
    assert min(found.rcbf_errors.values()) < 0.5
    for row in compare(cases, found.thresholds):
        assert row.core == pytest.approx(row.core_true, abs=0.5)
        assert row.hypoperfusion == pytest.approx(row.hypoperfusion_true, abs=0.5)


def test_a_core_known_by_its_volume_gets_a_volume_threshold():
    """Flow alone can't tell: half as low in the core, but below 60 % of its volume only where it is dead."""
    cases = []
    for scale in (0.7, 0.9, 1.1):
        maps, _, slow = graded(scale)
        x = torch.arange(64).expand(4, 64, 64)
        dead = (maps["cbf"] < 0.3 * 45) & maps.mask & (x > 40)
        values = {**maps.values, "cbv": torch.where(dead, 1.5, 3.0) * maps.mask}
        one = PerfusionMaps(values, maps.mask, maps.geometry)
        cases.append(CalibrationCase(str(scale), survey(one, sigma_mm=0.0), dead & slow, slow))
    grid = {**GRID, "rcbv_grid": (0.0, 0.45, 0.6, 0.8)}
    found = calibrate(cases, start=ANY_SIZE, **grid)
    assert found.thresholds.rcbv in (0.6, 0.8)
    assert found.rcbv_errors[found.thresholds.rcbv] < 0.5 < found.rcbv_errors[0.0]
    without = calibrate(cases, start=ANY_SIZE, **GRID, rcbv_grid=())
    assert without.thresholds.rcbv == 0.0
    assert without.rcbv_errors == {}


def test_flow_is_measured_against_tissue_of_its_density_unless_told():
    one = case("a", 0.9)
    grid = {"tmax_grid": (7.0,), "rcbf_grid": (0.25,), "rcbv_grid": (0.0,)}
    assert calibrate([one], **grid).thresholds.tissue_mm == TISSUE_MM
    assert calibrate([one], start=ANY_SIZE, **grid).thresholds.tissue_mm == 0.0


def test_tmax_is_measured_against_normal_tissue_unless_told():
    """Scans whose artery was read early or late: one threshold fits all of them, measured against normal tissue."""
    cases = [case(str(delay), 0.9, delay=delay) for delay in (-0.5, 0.0, 1.0)]
    grid = {**GRID, "rcbv_grid": ()}
    found = calibrate(cases, **grid)
    assert found.thresholds.usual_tmax == pytest.approx(1.5, abs=0.01)
    assert found.tmax_errors[found.thresholds.tmax] < 1.0
    absolute = calibrate(cases, start=ANY_SIZE, **grid)
    assert absolute.thresholds.usual_tmax == 0.0
    assert min(absolute.tmax_errors.values()) > 3.0


def test_a_method_that_compresses_flow_gets_a_higher_threshold():
    cases = [case(str(scale), scale, squeeze=0.6, delay=1.0) for scale in (0.7, 0.9, 1.1)]
    found = calibrate(cases, start=ANY_SIZE, **GRID)
    assert found.thresholds.rcbf == pytest.approx(0.25**0.6, abs=0.026)
    assert found.thresholds.tmax == 8.0


def test_delays_that_differ_are_told_apart_by_flow():
    """Hypoperfusion is flow below half here, where no flow means 4.5 to 14 s of delay: one Tmax can't fit, both do.

    Mutations seen red: the search among the errors by delay alone; severe Tmax in proportion to the new Tmax.
    """
    cases = []
    for delay in (4.5, 6.0, 9.0, 14.0):
        maps, _, _ = graded(1.0)
        flow = maps["cbf"] / 45.0
        tmax = (1.5 + delay * (1.0 - flow)) * maps.mask
        core, slow = (flow < 0.25) & maps.mask, (flow < 0.5) & maps.mask
        one = PerfusionMaps({**maps.values, "tmax": tmax}, maps.mask, maps.geometry)
        cases.append(CalibrationCase(str(delay), survey(one, sigma_mm=0.0), core, slow))
    grid = {"tmax_grid": tuple(2.0 + 0.5 * i for i in range(20)), "rcbf_grid": GRID["rcbf_grid"], "rcbv_grid": ()}
    told = []

    def track(values, title):
        told.append(title)
        return values

    found = calibrate(cases, start=ANY_SIZE, reduced_grid=(0.4, 0.5, 0.6), track=track, **grid)
    assert told == ["Tmax", "Tmax and reduced flow", "rCBF", "Tmax again"]
    by_delay = calibrate(cases, start=ANY_SIZE, reduced_grid=(), **grid)
    assert by_delay.thresholds.reduced_rcbf == 0.0
    assert found.thresholds.reduced_rcbf == 0.5
    assert found.thresholds.severe_tmax == max(found.thresholds.tmax, by_delay.thresholds.tmax * 10 / 6)
    assert found.tmax_errors[found.thresholds.tmax] < 0.3 * min(by_delay.tmax_errors.values())


def test_volumes_are_millilitres():
    one = case("a", 1.0)
    (row,) = compare([one], Thresholds())
    assert row.core_true == pytest.approx(int(one.core.sum()) * math.prod(one.survey.maps.geometry.spacing) / 1000)


def test_without_known_hypoperfusion_tmax_stays_conventional():
    cases = [case(str(scale), scale)._replace(hypoperfusion=None) for scale in (0.8, 1.0)]
    found = calibrate(cases, **GRID)
    assert found.thresholds.tmax == 6.0
    assert found.tmax_errors == {}
    assert math.isnan(compare(cases, found.thresholds)[0].hypoperfusion_true)


def test_a_healthy_patient_changes_nothing():
    cases = [case(str(scale), scale) for scale in (0.7, 1.1)]
    maps, core, slow = drawn(64, 4, 10.0, lesions=0, white=False)
    healthy = CalibrationCase("healthy", survey(maps, sigma_mm=0.0), core, slow)
    assert calibrate([*cases, healthy], **GRID).thresholds == calibrate(cases, **GRID).thresholds


def test_truth_of_thin_slices_is_compared_on_their_slabs(tmp_path):
    """Mutations seen red: the thin scan mapped as it is; any slice of a slab makes it core."""
    made = head(64, 12, 1.0, frames=40, noise=3.0)
    times = torch.arange(40.0, dtype=torch.float64)[:, None].expand(-1, 12).contiguous()
    series = CTPSeries(made.hu.round(), times, Geometry((12, 64, 64), made.spacing))
    core = torch.zeros(series.geometry.shape)
    core[1:3, 20:30, 20:30] = 1.0  # half of the first slab
    core[7, 20:30, 20:30] = 1.0  # a quarter of the second
    patient = tmp_path / "cohort" / "thin"
    for name in ("ct", "truth"):
        (patient / name).mkdir(parents=True)
    write_nifti_series(patient / "ct" / "ct.nii.gz", series)
    write_volume(patient / "truth" / "core.nii.gz", core, series.geometry)
    write_cohort_index(tmp_path / "cohort", {"thin": "train"}, {}, {})
    calibrate_cohort(tmp_path / "cohort", tmp_path / "out", registration="none")
    row = (tmp_path / "out" / "calibration.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    slab_ml = 4.0 * made.spacing[1] * made.spacing[2] / 1000.0
    assert float(row[3]) == pytest.approx(100 * slab_ml, abs=0.01)
    assert row[5] == "nan"


def test_a_model_keeps_its_own_thresholds(tmp_path):
    """In its file, the rest of it as before, and in thresholds.json. Mutation seen red: conventional ones kept."""
    made = head(64, 3, 4.0, frames=40, noise=2.0)
    times = torch.arange(40.0, dtype=torch.float64)[:, None].expand(-1, 3).contiguous()
    series = CTPSeries(made.hu.round(), times, Geometry((3, 64, 64), made.spacing))
    core = torch.zeros(series.geometry.shape)
    core[:, 20:30, 20:30] = 1.0
    for name in ("ct", "truth"):
        (tmp_path / "cohort" / "one" / name).mkdir(parents=True)
    write_nifti_series(tmp_path / "cohort" / "one" / "ct" / "ct.nii.gz", series)
    write_volume(tmp_path / "cohort" / "one" / "truth" / "core.nii.gz", core, series.geometry)
    write_cohort_index(tmp_path / "cohort", {"one": "train"}, {}, {})
    model = load_model("physics")
    model.save(tmp_path / "own.safetensors")
    calibrate_cohort(tmp_path / "cohort", tmp_path / "out", model=str(tmp_path / "own.safetensors"))
    kept = load_model(tmp_path / "own.safetensors")
    assert Thresholds(**kept.metadata_["thresholds"]) == read_thresholds(tmp_path / "out" / "thresholds.json")
    assert {**kept.metadata_, "thresholds": None} == {**model.metadata_, "thresholds": None}
    new = torch.rand(5, model.n_features_in_)
    torch.testing.assert_close(kept.predict(new), model.predict(new), rtol=0, atol=0)
    with pytest.raises(CTPError, match="exclude each other"):
        calibrate_cohort(tmp_path / "cohort", tmp_path / "both", method="csvd", model="physics")


def test_cores_of_late_patients_who_have_none_are_counted():
    rows = [
        CalibrationRow("good collaterals", 0.0, 4.0, 30.0, 28.0),
        CalibrationRow("more of them", 0.0, 10.0, 9.0, 12.0),
        CalibrationRow("a core", 20.0, 50.0, 60.0, 66.0),
        CalibrationRow("healthy", 0.0, 99.0, 0.0, 0.0),
    ]
    assert false_cores(rows) == (2, 7.0, 10.0)
    assert false_cores(rows[2:]) == (0, 0.0, 0.0)


def test_refusals():
    with pytest.raises(CTPError, match="got none"):
        calibrate([])
    maps, core, slow = drawn(48, 2, lesions=0)
    with pytest.raises(CTPError, match="true core"):
        calibrate([CalibrationCase("a", survey(maps), core, slow)])


def test_report_has_every_patient_and_a_picture():
    from ctp_torch.report.calibration import calibration_csv, calibration_figure, error_summary

    cases = [case("p1", 0.8), case("p2", 1.0)]
    found = calibrate(cases, **GRID)
    before, after = compare(cases, Thresholds()), compare(cases, found.thresholds)
    table = calibration_csv([("train", "conventional", before), ("train", "calibrated", after)]).splitlines()
    assert len(table) == 5
    assert table[1].startswith("p1,train,conventional,")
    errors = error_summary(after)
    assert errors["core_median_ml"] <= error_summary(before)["core_median_ml"] + 1e-9
    assert json.dumps(errors)
    assert len(calibration_figure(found, before, after).axes) == 4
