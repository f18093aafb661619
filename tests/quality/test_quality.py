"""Each flag is raised by what it is for, with the value that was put in, and not by a clean scan."""

from dataclasses import replace

import pytest
import torch
from scenes import scan

from ctp_torch import ops, pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.provenance import LeftOutFiles, Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.ops import RigidMotion, VesselCurve
from ctp_torch.pipeline import examine
from ctp_torch.quality import Bolus, Check, assess, slice_mismatch
from ctp_torch.quality.checks import check_artery, check_frames, check_motion, check_slices, check_truncation


def series(times, n_slices=3, provenance=None):
    """A series of nothing with those frame times."""
    moments = torch.as_tensor(times, dtype=torch.float64)[:, None].expand(-1, n_slices).contiguous()
    hu = torch.zeros(len(times), n_slices, 4, 4)
    return CTPSeries(hu, moments, Geometry((n_slices, 4, 4), (8.0, 1.0, 1.0)), provenance or Provenance())


def motion(rotation=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0), n=20, moving=20):
    shape = torch.zeros(n, 3, dtype=torch.float64)
    where = torch.arange(n)[:, None] < moving
    turn, shift = (torch.tensor(v, dtype=torch.float64).expand(n, 3) for v in (rotation, translation))
    return RigidMotion(torch.where(where, turn, shape), torch.where(where, shift, shape), torch.ones(6).bool())


def locations(frames):
    """(images, 2) from slice positions per frame, a second apart."""
    return torch.tensor([[z, t] for t, slices in enumerate(frames) for z in slices], dtype=torch.float64)


@pytest.fixture(scope="module")
def clean():
    return scan(n=160, n_slices=3, frames=60, bolus=1.5, dt=1.0)[0]


def flags_of(source, **options):
    ready = pipeline.preprocess(source)
    return pipeline.Scan(ready, motion(n=source.n_frames), pipeline.locate(ready)).assess(**options)


def test_a_clean_scan_raises_nothing(clean):
    quality = flags_of(clean)
    assert quality.flags == ()
    assert [check.flag for check in quality.checks] == ["q1", "q2", "q3", "q4", "q5", "q6", "q7"]
    assert quality.as_dict()["flags"] == {}
    assert set(quality.as_dict()["checks"]) == {"q1", "q2", "q3", "q4", "q5", "q6", "q7"}


@pytest.mark.parametrize(
    ("gone", "missing"), [([], 0), ([7], 1), ([7, 20], 2), ([7, 8, 9], 3), ([5, 9, 20, 30], 4), ([0, 39], 0)]
)
def test_holes_in_time_are_frames_missing(gone, missing):
    """The ends can't be told from a shorter scan. Mutation: count holes instead of frames; red."""
    check = check_frames(series([t for t in range(40) if t not in gone]))
    assert check.values["missing_frames"] == missing
    assert check.raised == (missing > 2)


def test_a_protocol_that_changes_its_pace_misses_nothing():
    """1 + 13 x 2 s + 5 x 5 s, as one vendor scans."""
    times = [0.0, *(4.0 + 2.0 * i for i in range(13)), *(33.0 + 5.0 * i for i in range(5))]
    assert check_frames(series(times)).values["missing_frames"] == 0


def test_frames_left_out_or_expected_count_as_missing():
    short = Provenance(incomplete_frames=3)
    assert check_frames(series(range(40), provenance=short)).values["missing_frames"] == 3
    assert check_frames(series(range(40)), expected_frames=45).values["missing_frames"] == 5
    other = Provenance(left_out=(LeftOutFiles("localizer", 7),))
    assert check_frames(series(range(40), provenance=other)).values["missing_frames"] == 0


@pytest.mark.parametrize(("shift", "raised"), [(0.0, False), (0.6, False), (2.5, True), (4.0, True)])
@pytest.mark.parametrize("shifted", [range(20, 21), range(12, 15), range(20, 40)])
def test_slices_that_move_between_frames_are_flagged(shift, raised, shifted):
    """One frame, three, or half of the scan. Mutation: look at places alone, not at when they are visited; red."""
    frames = [[z + (shift if t in shifted else 0.0) for z in (0.0, 8.0, 16.0, 24.0)] for t in range(40)]
    check = check_slices(None, locations=locations(frames))
    assert check.raised == raised
    assert check.values["between_frames_mm"] == pytest.approx(shift)


def test_a_shuttle_that_comes_back_everywhere_is_no_fault():
    frames = [[0.0, 8.0, 16.0] if t % 2 else [24.0, 32.0, 40.0] for t in range(40)]
    assert check_slices(None, locations=locations(frames)).values["between_frames_mm"] == 0.0


def test_maps_beside_the_scan_are_flagged():
    source = replace(series(range(5)), provenance=Provenance(slice_thickness_mm=5.0))
    for shift, raised in ((0.0, False), (2.0, False), (3.0, True)):
        maps = replace(source.geometry, origin=(0.0, 0.0, shift))
        check = check_slices(source, maps_geometry=maps)
        assert check.values["scan_to_maps_mm"] == pytest.approx(shift)
        assert check.raised == raised


def test_slice_mismatch_goes_along_the_normal_of_a_tilted_scan():
    tilted = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8)
    scan_grid = Geometry((3, 4, 4), (8.0, 1.0, 1.0), (0.0, 0.0, 0.0), tilted)
    moved = replace(scan_grid, origin=(5.0, -0.6 * 2.0, 0.8 * 2.0))
    assert slice_mismatch(scan_grid, moved) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("moves", "name"),
    [
        ({"translation": (3.5, 0.0, 0.0)}, "median_displacement_mm"),
        ({"translation": (0.0, 9.0, 0.0), "moving": 2}, "largest_displacement_mm"),
        ({"rotation": (0.0, 0.0, -5.5), "moving": 2}, "largest_rotation_deg"),
        ({"translation": (0.0, 0.0, 2.6), "moving": 4}, "share_of_frames_through_plane"),
    ],
)
def test_each_kind_of_motion_is_flagged_by_its_own_limit(moves, name):
    """Mutation: any of the four limits raised tenfold; red."""
    source = replace(series(range(20)), provenance=Provenance(slice_thickness_mm=5.0))
    check = check_motion(source, motion(**moves))
    assert check.broken == [name]
    assert name.split("_")[0] in check.describe()


def test_small_motion_is_no_fault_and_none_is_not_measured():
    source = series(range(20))
    assert not check_motion(source, motion((1.0, 0.5, 1.5), (1.0, -1.0, 0.5))).raised
    unknown = check_motion(source, None)
    assert not unknown.raised
    assert "not measured" in unknown.describe()


@pytest.mark.parametrize(
    ("options", "flag"), [({"onset": -6.0}, "q4"), ({"frames": 24}, "q5"), ({"bolus": 0.02}, "q7")]
)
def test_a_bolus_that_is_early_cut_or_absent_is_flagged(options, flag):
    source, _ = scan(**{"n": 128, "n_slices": 3, "frames": 60, "bolus": 1.5, **options})
    quality = flags_of(source)
    assert flag in quality.flags
    assert any(line.startswith(flag) for line in quality.lines())


def gamma(onset, height, beta=1.5, n=60):
    u = (torch.arange(n, dtype=torch.float64) - onset).clamp(min=0)
    curve = u**3 * torch.exp(-u / beta)
    return VesselCurve(height * curve / curve.max(), torch.zeros(1, 1, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("aif", "vof", "noise", "names"),
    [
        (gamma(10, 100), gamma(14, 200), 0.5, []),
        (gamma(11, 100), gamma(8, 200), 0.5, ["later_than_vein_s"]),
        (gamma(13, 100), gamma(14, 200), 0.5, ["later_than_tissue_s"]),
        (gamma(10, 10), gamma(14, 200), 0.5, ["vein_to_artery_area"]),
        (gamma(10, 5), gamma(14, 30), 0.5, ["min_peak_to_tissue"]),
        (gamma(8, 100, beta=8.0), gamma(14, 200), 0.5, ["width_s", "later_than_tissue_s", "later_than_vein_s"]),
        (gamma(10, 100), gamma(14, 200), 60.0, ["min_peak_to_noise"]),
        (gamma(10, 100), None, 0.5, []),
    ],
)
def test_an_implausible_artery_is_flagged_by_its_own_limit(aif, vof, noise, names):
    """Mutations seen red: artery and vein, or artery and tissue, swapped; any height above the tissue's will do."""
    ripple = torch.zeros(60, dtype=torch.float64)
    ripple[:10] = noise * torch.tensor([1.0, -1.0] * 5, dtype=torch.float64)
    tissue = gamma(10.5, 4.5, beta=2.0).curve
    check = check_artery(Bolus(tissue, aif._replace(curve=aif.curve + ripple), vof, ""), tissue, 1.0, 10)
    assert check.broken == names
    assert ("--aif x,y,z" in check.describe()) == bool(names)


def test_what_suffers_is_said_where_an_artery_is_implausible():
    tissue, artery = gamma(10.5, 4.5, beta=2.0).curve, gamma(10, 100)
    late = check_artery(Bolus(tissue, gamma(14, 100), None, ""), tissue, 1.0, 10)
    low = check_artery(Bolus(tissue, gamma(10, 5), gamma(14, 30), ""), tissue, 1.0, 10)
    assert "it rises like tissue or a vein: Tmax reads too short" in late.describe()
    assert "no vein was found to scale it by; look at its curve and name an artery by --aif x,y,z" in late.describe()
    assert (late.values["veins"], low.values["veins"]) == (0.0, 1.0)
    assert "CBF, CBV, MTT and Tmax all rest on it" in low.describe()
    assert "no vein" not in low.describe()
    assert not check_artery(Bolus(tissue, artery, None, ""), tissue, 1.0, 10).raised


def test_a_vein_taken_for_the_artery_is_flagged():
    """A median of 3 x 3 wipes out arteries of 3.8 mm in pixels of 1.8 mm; nothing but the sinus is left."""
    source, _ = scan(n=128, n_slices=3, frames=60, bolus=1.5, dt=1.0)
    check = flags_of(source).checks[5]
    assert "later_than_tissue_s" in check.broken
    assert "no vein was found" in check.describe()


def test_an_artery_little_higher_than_the_tissue_around_is_plausible(third_party):
    """A patch without a sinus (OSIPI), one curve shifted from voxel to voxel: its mean reaches three quarters of its
    arteries."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(third_party / "osipi" / "dsc_concentration_patch.nii")
    curves = torch.tensor(image.get_fdata(), dtype=torch.float32).permute(3, 2, 1, 0).contiguous()
    mask = torch.ones(curves.shape[1:], dtype=torch.bool)
    aif = ops.select_aif(curves, mask, 1.243, spacing=(5.0, 2.0, 2.0))
    check = check_artery(Bolus(curves, aif, None, ""), ops.smooth_in_time(curves[:, mask].mean(dim=1)), 1.243, 10)
    assert not check.raised
    assert check.values["later_than_tissue_s"] < -1.0


@pytest.mark.parametrize(
    ("cut", "name"),
    [(60, None), (32, "min_arterial_peak_to_end_s"), (21, "min_venous_peak_to_end_s"), (22, "tail_to_peak")],
)
def test_a_scan_that_ends_early_is_flagged_by_what_is_cut(cut, name):
    aif, vof = gamma(10, 100), gamma(14, 200)
    curves = [vessel._replace(curve=vessel.curve[:cut]) for vessel in (aif, vof)]
    check = check_truncation(*curves, [float(t) for t in range(cut)])
    assert check.broken == [] if name is None else name in check.broken


def test_no_artery_says_why():
    source, _ = scan(n=64, frames=30, bolus=0.0)
    check = flags_of(source).checks[5]
    assert check.raised
    assert "no artery found" in check.describe()


def test_the_baseline_ends_two_seconds_before_the_arteries_onset():
    """Mutations seen red: no margin; the onset of the brain's mean for that of its arteries."""
    for onset in (8.0, 10.0, 12.0):
        source, made = scan(n=64, frames=60, onset=onset, bolus=1.5)
        found = flags_of(source).checks[3].values
        assert found["onset_s"] == pytest.approx(float(ops.bolus_onset(made.aif, 1.0)), abs=1.2)
        assert found["baseline_frames"] == int(found["onset_s"] - 2.0) + 1  # a second apart, from 0


@pytest.mark.parametrize(("bolus", "raised"), [(0.1, True), (0.2, False)])
def test_a_brain_that_hardly_enhances_has_no_bolus(bolus, raised):
    """Peaks of .9 and 1.8 HU. Mutations seen red: .5 HU are enough; 2.5 HU aren't."""
    assert ("q7" in flags_of(scan(n=64, frames=60, bolus=bolus)[0]).flags) == raised


def test_a_volume_without_a_brain_fails_all_that_needs_one():
    air = CTPSeries(
        torch.full((6, 2, 64, 64), -1000.0), torch.arange(12.0).reshape(6, 2), Geometry((2, 64, 64), (8.0, 3.5, 3.5))
    )
    assert set(pipeline.Scan(air, None, pipeline.locate(air)).quality.flags) == {"q4", "q5", "q6", "q7"}


def test_fewer_than_four_frames_are_refused():
    with pytest.raises(ValueError, match=r"3 frame\(s\), at least 4"):
        assess(series(range(3)), anatomy=None, bolus=None)


def test_a_value_at_its_limit_passes_and_what_is_not_finite_is_not_told():
    at = Check("q1", {"missing_frames": 2.0}, {"missing_frames": 2.0})
    below = Check("q4", {"baseline_frames": 3.0}, {"min_baseline_frames": 3.0})
    assert not at.raised
    assert not below.raised
    assert Check("q4", {"baseline_frames": 2.0}, {"min_baseline_frames": 3.0}).broken == ["min_baseline_frames"]
    assert Check("q2", {"a": float("inf")}, {"a": 1.0}).as_dict()["values"] == {"a": None}


@pytest.mark.slow
def test_examine_measures_known_motion_of_files(tmp_path):
    """Most of the scan is shifted by a whole pixel, so that the truth is exact."""
    from ctp_torch.io import write_ct_series

    source, _ = scan(n=64, n_slices=4, frames=24, noise=1.0)
    shifted = source.hu.clone()
    shifted[10:] = shifted[10:].roll(1, dims=-1)
    write_ct_series(replace(source, hu=shifted), tmp_path / "ct")
    found = examine(tmp_path / "ct", registration=ops.register_rigid)
    pixel = source.geometry.spacing[2]
    rows = found.as_dict()["motion"]
    assert len(rows) == 24
    assert rows[5]["translation_mm"][0] == pytest.approx(0.0, abs=0.15)
    assert rows[20]["translation_mm"][0] == pytest.approx(pixel, abs=0.25)
    assert "q3" in found.quality.flags
