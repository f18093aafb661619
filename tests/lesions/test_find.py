"""Volumes of lesions whose size is known, on maps drawn with them; the command line on a folder of such maps.

Mutations that these tests catch: the reference taken from the affected side (``found.side * side > 5``); ``rcbf``
against the mean of the whole brain; core not limited to the hypoperfusion; penumbra instead of hypoperfusion over core;
low flow that never joins what is late; a ratio whose other side isn't mirrored.
"""

import csv
import json
from dataclasses import replace

import pytest
import torch
from oracles.lesions import drawn, head_ct

from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.errors import CTPError, NoNormalTissueError, NoSeriesError, OutputExistsError, UnreadableFileError
from ctp_torch.lesions.find import find_lesions, survey
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds, write_thresholds
from ctp_torch.report.lesions import write_lesion_tables


@pytest.mark.parametrize(("n", "n_slices", "slice_mm"), [(96, 6, 8.0), (128, 6, 5.0), (64, 16, 2.0)])
@pytest.mark.parametrize("side", [1, -1])
def test_volumes_are_those_drawn(n, n_slices, slice_mm, side):
    maps, core, slow = drawn(n, n_slices, slice_mm, side=side)
    lesions = find_lesions(maps, thresholds=Thresholds(sigma_mm=0.0))
    ml = maps.geometry.voxel_volume_ml
    assert torch.equal(lesions.core, core)
    assert torch.equal(lesions.hypoperfusion, slow)
    assert torch.equal(lesions.penumbra, slow & ~core)
    summary = lesions.summary()
    assert summary["core_rule"] == "CBF < 30% of normal"
    assert summary["core_ml"] == pytest.approx(int(core.sum()) * ml, abs=1e-3)
    assert summary["mismatch_ml"] == pytest.approx(int((slow & ~core).sum()) * ml, abs=1e-3)
    assert summary["mismatch_ratio"] == pytest.approx(float(slow.sum() / core.sum()), abs=1e-3)
    assert summary["hypoperfusion_intensity_ratio"] == pytest.approx(float(core.sum() / slow.sum()), abs=1e-3)
    assert summary["cbv_index"] == pytest.approx(0.5, abs=1e-3)
    assert lesions.side == ("left" if side > 0 else "right")
    assert not (lesions.reference & slow).any()


def test_smoothing_and_noise_move_volumes_little():
    maps, core, slow = drawn(128, noise=6.0)
    lesions = find_lesions(maps)
    ml = maps.geometry.voxel_volume_ml
    volumes = lesions.volumes()
    assert volumes["core_ml"] == pytest.approx(int(core.sum()) * ml, rel=0.1)
    assert volumes["hypoperfusion_ml"] == pytest.approx(int(slow.sum()) * ml, rel=0.1)


def test_noise_of_a_voxel_makes_neither_core_nor_hole():
    """Mutation seen red: every voxel by itself."""
    maps, core, slow = drawn(128, white=False)
    noisy = torch.rand(core.shape, generator=torch.Generator().manual_seed(2)) < 0.25
    flow = torch.where(noisy & slow, torch.where(core, 20.0, 8.0), maps["cbf"])
    maps = replace(maps, values={**maps.values, "cbf": flow})
    plain, agreed = (find_lesions(maps, thresholds=Thresholds(sigma_mm=0.0, core_mm=mm)).core for mm in (0.0, 5.0))
    wrong = [int((found ^ core).sum()) for found in (plain, agreed)]
    assert wrong[1] < 0.25 * wrong[0]
    assert not (agreed & ~slow).any()


def test_a_core_on_a_knifes_edge_is_called_uncertain():
    """Mutation seen red: thresholds left as they are on both sides."""
    maps, core, _ = drawn(96, white=False)
    assert find_lesions(maps).warnings == find_lesions(maps, thresholds=Thresholds(rcbf=0.4)).warnings
    for share in (0.295, 0.31):  # just below the threshold, or just above
        values = {**maps.values, "cbf": torch.where(core, share * 45.0, maps["cbf"])}
        lesions = find_lesions(replace(maps, values=values), thresholds=Thresholds(rcbf=0.3, sigma_mm=0.0))
        ml = int(core.sum()) * maps.geometry.voxel_volume_ml
        assert any(f"uncertain: 0 to {ml:.0f} mL" in line for line in lesions.warnings), lesions.warnings


@pytest.mark.parametrize(("turn_deg", "offset_mm"), [(25.0, 6.0), (-12.0, -10.0)])
@pytest.mark.parametrize("with_ct", [False, True])
def test_reference_is_opposite_in_a_turned_head(turn_deg, offset_mm, with_ct):
    maps, _, slow = drawn(turn_deg=turn_deg, offset_mm=offset_mm)
    lesions = find_lesions(maps, baseline=head_ct(maps) if with_ct else None)
    assert lesions.side == "left"
    found = survey(maps)
    assert float((found.side[slow] > -2.0).float().mean()) > 0.99
    assert not (lesions.reference & (found.side > 0)).any()
    assert lesions.reference_cbf == pytest.approx(45.0, abs=1.0)


def test_thick_and_thin_slices_agree():
    thick, thin = (find_lesions(drawn(64, n, mm)[0]).volumes() for n, mm in ((6, 8.0), (24, 2.0)))
    for name in ("core_ml", "hypoperfusion_ml"):
        assert thick[name] == pytest.approx(thin[name], rel=0.02)


def on_thin_slices(maps, n):
    """The same maps on slices a nth as high."""
    g = maps.geometry
    first = g.position(-0.5 + 0.5 / n, 0, 0)
    grid = replace(g, shape=(g.shape[0] * n, *g.shape[1:]), spacing=(g.spacing[0] / n, *g.spacing[1:]), origin=first)
    values = {name: volume.repeat_interleave(n, dim=0) for name, volume in maps.values.items()}
    return PerfusionMaps(values, maps.mask.repeat_interleave(n, dim=0), grid)


def test_thin_slices_give_the_lesions_of_their_slabs():
    """Mutations seen red: thin maps as they are (noise of single slices counts); masks left on the slabs; volumes of
    slabs for those of slices.
    """
    maps, _, _ = drawn(64, 6, 5.0, noise=6.0)
    thin = on_thin_slices(maps, 10)
    for name, sd in (("cbf", 12.0), ("tmax", 4.0)):  # the mean of ten slices stays
        noise = sd * torch.randn(6, 10, 64, 64, generator=torch.Generator().manual_seed(1))
        thin.values[name].add_((noise - noise.mean(dim=1, keepdim=True)).flatten(0, 1) * thin.mask)
    ct = head_ct(maps)
    thick = find_lesions(maps, baseline=ct)
    found = find_lesions(thin, baseline=ct.repeat_interleave(10, dim=0))
    for name in ("core", "hypoperfusion", "severe", "reference"):
        assert torch.equal(getattr(found, name), getattr(thick, name).repeat_interleave(10, dim=0))
    told, expected = found.summary(), {**thick.summary(), "slice_mm": 0.5, "voxel_ml": thick.voxel_ml / 10}
    for name, value in expected.items():
        assert told[name] == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value), name
    low = find_lesions(thin, slice_mm=0.25)
    assert low.volumes()["core_ml"] == pytest.approx(find_lesions(thin).volumes()["core_ml"] / 2, abs=1e-3)


def test_thin_slices_without_numbers_in_places():
    """Mutation seen red: what is no number averaged with the rest."""
    maps, _, _ = drawn(64, 6, 5.0)
    thin = on_thin_slices(maps, 10)
    thin.values["tmax"][4, 30:34, 20:24] = torch.nan
    found, undamaged = find_lesions(thin), find_lesions(on_thin_slices(maps, 10))
    assert any("16 voxels of the brain have no finite" in line for line in found.warnings)
    assert not found.reference[4, 30:34, 20:24].any()
    assert undamaged.reference[5, 30:34, 20:24].any()
    assert torch.equal(found.reference[5], undamaged.reference[5])  # the other nine slices know
    assert found.volumes() == undamaged.volumes()


def test_no_lesion_is_zero_and_has_no_ratio():
    summary = find_lesions(drawn(lesions=0, noise=3.0)[0]).summary()
    assert summary["core_ml"] == summary["hypoperfusion_ml"] == 0
    assert summary["mismatch_ratio"] is summary["hypoperfusion_intensity_ratio"] is summary["cbv_index"] is None
    assert summary["side"] == "none"


def test_both_sides_use_all_normal_tissue_and_say_so():
    lesions = find_lesions(drawn(lesions=2)[0])
    assert lesions.side == "none"
    assert any("both sides" in warning for warning in lesions.warnings)
    assert lesions.volumes()["core_ml"] > 50


def test_specks_go_and_small_holes_close():
    maps, _, _ = drawn(lesions=0)
    tmax = maps["tmax"].clone()
    tmax[2, 40:42, 60:62] = 9.0  # 0.17 mL
    tmax[1:5, 40:60, 60:75] = 9.0
    tmax[3, 50, 66] = 1.0
    spotted = replace(maps, values={**maps.values, "tmax": tmax})
    lesions = find_lesions(spotted, thresholds=Thresholds(sigma_mm=0.0))
    assert not lesions.hypoperfusion[2, 40:42, 50:55].any()
    assert lesions.hypoperfusion[3, 50, 66]


def test_core_lies_within_the_hypoperfusion():
    maps, _, _ = drawn()
    cbf = maps["cbf"].clone()
    cbf[:, 20:30, 30:40] = 2.0  # low flow without delay: an old lesion, or fluid
    lesions = find_lesions(replace(maps, values={**maps.values, "cbf": cbf}))
    assert not (lesions.core & ~lesions.hypoperfusion).any()


def test_a_core_whose_tmax_is_noise_is_whole():
    """Where no contrast arrives, Tmax is noise: half of a core, and all of its middle, would be missing."""
    maps, core, slow = drawn()
    tmax = maps["tmax"].clone()
    tmax[core] = 12.0 * torch.rand(int(core.sum()), generator=torch.Generator().manual_seed(1))
    deep = ((torch.arange(96) - 62).abs() < 3)[None, None] & core  # 31 mm from the middle; no Tmax at all
    tmax[deep] = 0.0
    lesions = find_lesions(replace(maps, values={**maps.values, "tmax": tmax}), thresholds=Thresholds(sigma_mm=0.0))
    assert torch.equal(lesions.core, core)
    assert torch.equal(lesions.hypoperfusion, slow)
    assert not (lesions.reference & slow).any()


@pytest.mark.parametrize(("late_share", "whole"), [(0.22, False), (0.28, True)])
def test_a_quarter_of_a_region_of_low_flow_must_be_late(late_share, whole):
    """Mutations seen red: ``_LATE_SHARE`` of .2, of .3."""
    maps, _, _ = drawn(white=False, lesions=0)
    cbf, tmax = maps["cbf"].clone(), maps["tmax"].clone()
    cbf[:, 40:60, 22:72] = 5.0
    low = cbf == 5.0
    late = low & (torch.arange(96) < 22 + round(50 * late_share))
    tmax[late] = 9.0
    limits = Thresholds(sigma_mm=0.0)
    lesions = find_lesions(replace(maps, values={**maps.values, "cbf": cbf, "tmax": tmax}), thresholds=limits)
    assert torch.equal(lesions.core, low if whole else late)


def test_flow_against_the_mirrored_place_knows_grey_from_white():
    maps, core, slow = drawn(128, white=True)
    factor = 1.0 - 0.6 * slow.float() - 0.3 * core.float()  # penumbra at 40 %, core at 10 % of what it was
    cbf = drawn(128, white=True, lesions=0)[0]["cbf"] * factor
    late = replace(maps, values={**maps.values, "cbf": cbf, "tmax": torch.where(slow, 9.0, 1.5) * maps.mask})
    ml = maps.geometry.voxel_volume_ml
    mirrored = find_lesions(late, thresholds=Thresholds(mirror_mm=2.0))
    middling = find_lesions(late)
    assert mirrored.volumes()["core_ml"] == pytest.approx(int(core.sum()) * ml, rel=0.12)
    assert middling.volumes()["core_ml"] > 1.3 * int(core.sum()) * ml  # white matter at 40 % is below 30 % of grey
    for one in (mirrored, middling):
        assert one.volumes()["hypoperfusion_ml"] == pytest.approx(int(slow.sum()) * ml, rel=0.05)


@pytest.mark.parametrize(("turn_deg", "offset_mm"), [(0.0, 0.0), (20.0, 7.0)])
def test_ratios_across_the_midline(turn_deg, offset_mm):
    healthy, _, _ = drawn(128, lesions=0, turn_deg=turn_deg, offset_mm=offset_mm)
    found = survey(healthy)
    known = found.tissue & ~found.cbf_ratio.isnan()
    assert float(known.sum() / found.tissue.sum()) > 0.95
    for ratio in (found.cbf_ratio, found.cbv_ratio):
        assert float(ratio[known].median()) == pytest.approx(1.0, abs=0.01)
        assert float(((ratio[known] - 1.0).abs() < 0.15).float().mean()) > 0.97
    ill, core, _ = drawn(128, turn_deg=turn_deg, offset_mm=offset_mm, white=False)
    low = survey(ill, mirror_mm=4.0)
    inner = core & (low.cbf < 8.01)  # away from the rim
    assert float(low.cbf_ratio[inner].median()) == pytest.approx(8.0 / 45.0, rel=0.1)
    assert float(low.cbv_ratio[inner].median()) == pytest.approx(0.5, rel=0.05)
    assert survey(replace(ill, values={n: ill[n] for n in ("cbf", "tmax")})).cbv_ratio is None


@pytest.mark.parametrize("mirror_mm", [0.0, 4.0])
def test_a_core_may_have_to_lack_volume_too(mirror_mm):
    maps, core, _ = drawn(128, white=False)
    upper = torch.zeros_like(core)
    upper[3:] = True
    cbv = torch.where(core & upper, 1.0, 4.0) * maps.mask
    both = replace(maps, values={**maps.values, "cbv": cbv})
    limits = Thresholds(rcbv=0.6, mirror_mm=mirror_mm)
    lesions = find_lesions(both, thresholds=limits)
    assert not lesions.core[:3].any()
    assert int(lesions.core.sum()) == pytest.approx(int((core & upper).sum()), rel=0.15)
    assert int(find_lesions(both).core.sum()) == pytest.approx(int(core.sum()), rel=0.1)
    assert limits.core_rule == f"CBF < 30% and CBV < 60% of {'the other side' if mirror_mm else 'normal'}"
    assert Thresholds().core_rule == "CBF < 30% of normal"
    bare = find_lesions(replace(maps, values={name: maps[name] for name in ("cbf", "tmax")}), thresholds=limits)
    assert "CBV" not in bare.thresholds.core_rule
    assert any("no CBV" in warning for warning in bare.warnings)


def test_fluid_and_vessels_are_left_out_with_a_ct():
    maps, _, slow = drawn()
    ct = head_ct(maps)
    fluid = torch.zeros_like(slow)
    fluid[:, 36:46, 55:65] = True
    ct[fluid] = 8.0
    lesions = find_lesions(maps, baseline=ct)
    assert float((lesions.hypoperfusion & fluid).sum() / (slow & fluid).sum()) < 0.25
    cbv = maps["cbv"].clone()
    cbv[:, 50:56, 62:66] = 30.0
    vascular = find_lesions(replace(maps, values={**maps.values, "cbv": cbv}))
    assert not vascular.hypoperfusion[:, 52:54, 63:65].any()
    assert vascular.hypoperfusion[:, 49:57, 61:67].sum() > vascular.hypoperfusion[:, 50:56, 62:66].sum() > 0


def test_vessels_hold_more_than_three_times_the_usual_blood():
    """Mutations seen red: 2.8 times the median; 3.6 times."""
    maps, _, _ = drawn(lesions=0)
    cbv = maps["cbv"].clone()
    cbv[:, 40:44, 55:59], cbv[:, 60:64, 55:59] = 3.0 * 4.0, 3.4 * 4.0
    tissue = survey(replace(maps, values={**maps.values, "cbv": cbv})).tissue
    assert tissue[:, 40:44, 55:59].all()
    assert not tissue[:, 60:64, 55:59].any()


def test_old_infarcts_are_left_out_with_their_margin():
    """A cavity of 12 mm at 1 mm a pixel. Mutations seen red: no margin; 4 mm instead of 2."""
    maps, _, _ = drawn(220, 2, lesions=0)
    ct = head_ct(maps)
    y, x = torch.meshgrid(torch.arange(220) - 109.5, torch.arange(220) - 109.5, indexing="ij")
    away = torch.hypot(y, x - 35.0)
    ct[:, away < 12.0] = 8.0
    tissue = survey(maps, baseline=ct).tissue
    assert float(away[~tissue[0] & maps.mask[0] & (away < 30.0)].max()) == pytest.approx(14.0, abs=0.8)


def test_damaged_voxels_are_left_out_with_a_warning():
    maps, _, _ = drawn()
    whole = find_lesions(maps).volumes()
    tmax = maps["tmax"].clone()
    tmax[2, 45:48, 40:43] = torch.nan
    lesions = find_lesions(replace(maps, values={**maps.values, "tmax": tmax}))
    assert any("finite" in warning for warning in lesions.warnings)
    assert lesions.volumes()["core_ml"] == pytest.approx(whole["core_ml"], rel=0.02)


def test_a_ct_without_numbers_in_places_is_said():
    maps, _, _ = drawn(64, 2)
    ct = head_ct(maps)
    assert not any("NaN" in warning for warning in find_lesions(maps, baseline=ct).warnings)
    ct[1, 30:33, 20:24] = torch.nan
    assert any("12 voxels inside the brain are NaN" in warning for warning in find_lesions(maps, baseline=ct).warnings)


def test_slice_height_scales_volumes_but_not_ratios():
    maps, _, _ = drawn()
    spaced, thick = find_lesions(maps), find_lesions(maps, slice_mm=4.0)
    assert thick.volumes()["core_ml"] == pytest.approx(spaced.volumes()["core_ml"] / 2, abs=0.01)
    assert thick.summary()["slice_mm"] == 4.0


def test_left_and_right_follow_the_grid():
    maps, _, _ = drawn(side=1)
    mirrored = replace(maps, geometry=replace(maps.geometry, direction=(-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0)))
    assert find_lesions(maps).side == "left"
    assert find_lesions(mirrored).side == "right"


def test_a_late_reference_is_said():
    maps, _, _ = drawn()
    late = replace(maps, values={**maps.values, "tmax": maps["tmax"] + 3.0 * maps.mask})
    lesions = find_lesions(late)
    assert any("hardly any tissue" in warning for warning in lesions.warnings)


@pytest.mark.parametrize("late_s", [-0.9, 0.0, 1.4])
def test_an_artery_read_early_or_late_moves_no_lesion(late_s):
    """Mutation seen red: Tmax moved the other way."""
    maps, core, slow = drawn()
    shifted = replace(maps, values={**maps.values, "tmax": (maps["tmax"] + late_s) * maps.mask})
    limits = Thresholds(sigma_mm=0.0, usual_tmax=1.5, tmax=7.5, severe_tmax=12.4)
    lesions = find_lesions(shifted, thresholds=limits)
    assert torch.equal(lesions.core, core)
    assert torch.equal(lesions.hypoperfusion, slow)
    assert torch.equal(lesions.severe, core)
    assert lesions.summary()["tmax_moved_s"] == pytest.approx(-late_s, abs=1e-3)
    assert lesions.thresholds.late_rule == "Tmax > 7.5 s where normal is 1.5 s"
    assert not any("belong" in warning for warning in lesions.warnings)


@pytest.mark.parametrize("side", [1, -1])
def test_usual_is_the_side_that_is_not_late(side):
    """Mutation seen red: the higher instead of the lower of both sides' median."""
    maps, _, _ = drawn(lesions=0)
    x = torch.arange(96) - 47.5
    half = replace(maps, values={**maps.values, "tmax": (maps["tmax"] + 5.0 * (x * side > 0)) * maps.mask})
    assert survey(half, sigma_mm=0.0).usual_tmax == pytest.approx(1.5)


def test_both_sides_late_is_said_and_mostly_left_late():
    maps, _, slow = drawn()
    late = replace(maps, values={**maps.values, "tmax": (maps["tmax"] + 8.0) * maps.mask})
    lesions = find_lesions(late, thresholds=Thresholds(sigma_mm=0.0, usual_tmax=1.5, normal_tmax=8.0, tmax=8.0))
    assert lesions.tmax_moved == -2.0
    assert any("Tmax of 9.5 s, the thresholds belong to 1.5 s" in warning for warning in lesions.warnings)
    assert torch.equal(lesions.hypoperfusion, slow)


def test_tmax_is_as_measured_unless_told():
    maps, _, _ = drawn()
    late = replace(maps, values={**maps.values, "tmax": (maps["tmax"] - 1.0) * maps.mask})
    lesions = find_lesions(late)
    assert lesions.tmax_moved == 0.0
    assert lesions.thresholds.late_rule == "Tmax > 6 s"
    assert survey(late, sigma_mm=0.0).usual_tmax == pytest.approx(0.5)


REDUCED = Thresholds(sigma_mm=0.0, rcbf=0.1, tmax=9.0, reduced_tmax=5.0, reduced_rcbf=0.7, min_hypoperfusion_ml=1.0)


def a_little_late(flow, time, *, both=False):
    """Maps of a healthy, evenly perfused brain with a block of other flow and Tmax on one side, or both, and it."""
    maps, _, _ = drawn(lesions=0, white=False)
    block = torch.zeros_like(maps.mask)
    block[:, 40:60, 60:70] = True
    block |= block.flip(-1) if both else block
    cbf, tmax = torch.where(block, flow, maps["cbf"]), torch.where(block, time, maps["tmax"])
    return replace(maps, values={**maps.values, "cbf": cbf, "tmax": tmax}), block


@pytest.mark.parametrize("mirror_mm", [0.0, 1.0])
@pytest.mark.parametrize(
    ("flow", "time", "found"), [(25.0, 6.0, True), (40.0, 6.0, False), (25.0, 4.5, False), (45.0, 9.5, True)]
)
def test_less_delay_is_enough_where_flow_is_reduced(mirror_mm, flow, time, found):
    """Mutations seen red: flow without delay; delay without flow; both delays asked instead of either."""
    maps, block = a_little_late(flow, time)
    lesions = find_lesions(maps, thresholds=replace(REDUCED, mirror_mm=mirror_mm))
    assert torch.equal(lesions.hypoperfusion, block & found)
    assert not find_lesions(maps, thresholds=replace(REDUCED, reduced_rcbf=0.0, tmax=9.6)).hypoperfusion.any()


def test_flow_is_not_compared_across_the_midline_where_both_sides_are_late():
    """Each side would excuse the other. Mutation seen red: ``both`` never asked."""
    maps, block = a_little_late(20.0, 6.0, both=True)
    tmax = maps["tmax"].clone()
    tmax[block & (torch.arange(96) % 2 == 0)] = 9.5
    blind = find_lesions(maps, thresholds=replace(REDUCED, mirror_mm=1.0))
    assert not blind.hypoperfusion.any()  # nothing is late by itself: no sign that both sides are ill
    ill = replace(maps, values={**maps.values, "tmax": tmax})
    lesions = find_lesions(ill, thresholds=replace(REDUCED, mirror_mm=1.0))
    assert torch.equal(lesions.hypoperfusion, block)
    assert any("both sides" in warning for warning in lesions.warnings)


@pytest.mark.parametrize(("rows", "side"), [(14, "none"), (10, "left")])
def test_both_sides_are_ill_where_the_smaller_lesion_is_most_of_the_larger(rows, side):
    """Seven tenths, and half. Mutations seen red: nine tenths are needed; three."""
    maps, _ = a_little_late(45.0, 9.5)
    maps["tmax"][:, 40 : 40 + rows, 26:36] = 9.5
    assert find_lesions(maps, thresholds=Thresholds(sigma_mm=0.0)).side == side


def test_metal_and_missing_tissue_are_said():
    """Mutations seen red: metal from 2,400 HU on; slices from 0; a side is whole with half of the other's tissue."""
    maps, _, _ = drawn(64, 4, lesions=0)
    ct = head_ct(maps)
    ct[1, 30:34, 40:44], ct[3, 30:34, 40:44] = 2200.0, 1800.0
    told = survey(maps, baseline=ct).warnings
    assert [line for line in told if "metal" in line] == [
        "metal in the brain (above 2000 HU) in slice 2: streaks falsify the maps there"
    ]
    assert not any("one side holds" in line for line in told)
    for rows, damaged in ((14, False), (28, True)):  # of 47
        gone = maps["cbf"].clone()
        gone[:, 9 : 9 + rows, 32:] = torch.nan
        told = survey(replace(maps, values={**maps.values, "cbf": gone})).warnings
        assert any("one side holds" in line for line in told) == damaged, rows


@pytest.mark.parametrize("scale", [0.4, 2.5])
def test_the_scale_of_the_arterial_input_moves_no_lesion(scale):
    """Mutation seen red: vessels above 9 mL/100 g, which at 2.5 times the volume is all normal tissue."""
    maps, _, _ = drawn(noise=2.0)
    cbv = maps["cbv"].clone()
    cbv[:, 50:56, 62:66] = 30.0
    values = {**maps.values, "cbv": cbv}
    usual = find_lesions(replace(maps, values=values))
    scaled = {**values, "cbf": values["cbf"] * scale, "cbv": cbv * scale}
    lesions = find_lesions(replace(maps, values=scaled))
    assert not usual.hypoperfusion[:, 52:54, 63:65].any()
    for one, other in ((lesions.core, usual.core), (lesions.hypoperfusion, usual.hypoperfusion)):
        assert torch.equal(one, other)


def test_rules_are_said_in_words():
    assert Thresholds(usual_tmax=2.9).late_rule == "Tmax > 6 s where normal is 2.9 s"
    assert REDUCED.late_rule == "Tmax > 9 s, or > 5 s and CBF < 70% of normal"
    words = "Tmax > 9 s, or > 5 s and CBF < 70% of the other side, where normal is 2.9 s"
    assert replace(REDUCED, mirror_mm=6.0, usual_tmax=2.9).late_rule == words


def test_the_midline_is_that_of_the_widest_slices():
    """A lopsided base and top of the head don't turn the plane through most of the brain.

    Mutation seen red: all slices count.
    """
    maps, _, _ = drawn(96, 32, 5.0, lesions=0)
    mask = maps.mask.clone()
    for slices in (slice(0, 8), slice(24, 32)):
        mask[slices, :, 60:] = False
        mask[slices, :40] = False
    lopsided = replace(maps, mask=mask)
    middle = torch.arange(96) - 47.5
    side = survey(lopsided).side[8:24]
    assert float((side - middle * 220.0 / 96).abs().max()) < 1.0


def test_refusals(tmp_path):
    maps, _, _ = drawn(48, 2)
    with pytest.raises(CTPError, match="tmax"):
        find_lesions(replace(maps, values={"cbf": maps["cbf"]}))
    with pytest.raises(CTPError, match="mask of the maps is empty"):
        find_lesions(replace(maps, mask=torch.zeros_like(maps.mask)))
    with pytest.raises(NoNormalTissueError, match="nothing to compare"):
        find_lesions(replace(maps, values={**maps.values, "tmax": 20.0 * maps.mask}))
    with pytest.raises(CTPError, match="fraction"):
        Thresholds(rcbf=30.0)
    with pytest.raises(CTPError, match="rCBV"):
        Thresholds(rcbv=-0.1)
    with pytest.raises(CTPError, match="severe_tmax"):
        Thresholds(tmax=12.0)
    with pytest.raises(CTPError, match="usual Tmax"):
        Thresholds(usual_tmax=6.0)
    with pytest.raises(CTPError, match="usual Tmax"):
        Thresholds(usual_tmax=4.5, reduced_rcbf=0.7)
    with pytest.raises(CTPError, match="reduced flow"):
        Thresholds(reduced_rcbf=70.0)
    with pytest.raises(CTPError, match="less delay is enough"):
        Thresholds(reduced_rcbf=0.7, reduced_tmax=6.5)
    bad = tmp_path / "t.json"
    for text, match in (("{", "no JSON"), ("[]", "thresholds"), ('{"thresholds": {"speed": 1}}', "speed")):
        bad.write_text(text)
        with pytest.raises(UnreadableFileError, match=match):
            read_thresholds(bad)
    bad.write_text('{"thresholds": {"tmax": "six"}}')
    with pytest.raises(UnreadableFileError, match="must be a number"):
        read_thresholds(bad)


def test_thresholds_survive_their_file(tmp_path):
    limits = Thresholds(rcbf=0.42, rcbv=0.6, mirror_mm=4.0, tmax=7.5, reduced_rcbf=0.8, usual_tmax=3.1, method="osvd")
    write_thresholds(limits, tmp_path / "t.json", facts={"patients": 3})
    assert read_thresholds(tmp_path / "t.json") == limits
    (tmp_path / "former.json").write_text('{"thresholds": {"rcbf": 0.7, "tmax": 7.5, "method": "csvd"}}')
    assert read_thresholds(tmp_path / "former.json").usual_tmax == 0.0


def test_tables_hold_every_number(tmp_path):
    lesions = find_lesions(drawn()[0])
    write_lesion_tables(lesions, tmp_path, facts={"method": "csvd"})
    page = json.loads((tmp_path / "lesion.json").read_text(encoding="utf-8"))
    with (tmp_path / "lesion.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert page["method"] == "csvd"
    assert page["thresholds"]["tmax"] == float(row["threshold_tmax"]) == 6.0
    for name in ("core_ml", "penumbra_ml", "mismatch_ratio", "slice_mm"):
        assert page[name] == pytest.approx(float(row[name]))


def test_overlay_is_magenta_in_green_on_grey():
    from ctp_torch.report.lesions import lesion_picture, overlay

    maps, core, slow = drawn(64, 2)
    lesions = find_lesions(maps, thresholds=Thresholds(sigma_mm=0.0))
    picture = overlay(torch.full(maps.geometry.shape, 40.0), lesions, (0.0, 80.0)).int()
    red, green, blue = picture.unbind(-1)
    assert ((red > green) & (blue > green))[core].all()
    assert ((green > red) & (green > blue))[slow & ~core].all()
    assert (picture[~slow] == 128).all()
    words = lesion_picture(lesions, maps["cbf"], maps.geometry).words
    assert [word for word in words if "slice " in word and len(word) < 9] == ["slice 1", "slice 2"]


def test_command_measures_a_folder_of_maps(tmp_path, capsys):
    from ctp_torch.cli.lesion import lesion
    from ctp_torch.io import read_volume, write_volume

    maps, _, _ = drawn(64, 3, 10.0)
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, volume in maps.values.items():
        write_volume(folder / f"{name}.nii.gz", volume, maps.geometry)

    out = tmp_path / "out"
    lesion(folder, out, tmax=5.5)
    said = capsys.readouterr()
    assert "no baseline CT" in said.err
    page = json.loads((out / "lesion.json").read_text(encoding="utf-8"))
    assert f"{page['core_ml']:.1f} mL" in said.out
    assert page["thresholds"]["tmax"] == 5.5
    volume, _ = read_volume(out / "core.nii.gz")
    assert int((volume > 0).sum()) * maps.geometry.voxel_volume_ml == pytest.approx(page["core_ml"], abs=0.01)
    assert (out / "lesion.png").stat().st_size > 5000
    with pytest.raises(OutputExistsError, match="--force"):
        lesion(folder, out)
    with pytest.raises(NoSeriesError, match="no cbf map"):
        lesion(tmp_path, tmp_path / "other")
    write_volume(folder / "baseline.nii.gz", head_ct(maps), maps.geometry)
    limits = tmp_path / "thresholds.json"
    write_thresholds(Thresholds(rcbf=0.2, method="csvd"), limits)
    lesion(folder, out, thresholds=limits, force=True)
    assert "baseline" not in capsys.readouterr().err
    assert json.loads((out / "lesion.json").read_text(encoding="utf-8"))["thresholds"]["rcbf"] == 0.2


@pytest.mark.parametrize("depth", [2, 24], ids=["thick", "thin"])
def test_what_does_not_depend_on_thresholds_is_made_once(depth, monkeypatch):
    """Mutation seen red: a survey of another width taken for one that was asked for."""
    maps, _, _ = drawn(48, depth)
    made = []
    monkeypatch.setattr("ctp_torch.lesions.find.survey", lambda *a, **k: made.append(k) or survey(*a, **k))
    surveys = []
    own = Thresholds(rcbf=0.6, tissue_mm=4.0)
    for limits in (own, Thresholds(), own, Thresholds(sigma_mm=2.0)):
        shared, alone = (find_lesions(maps, thresholds=limits, surveys=kept) for kept in (surveys, None))
        assert shared.summary() == alone.summary()
        assert torch.equal(shared.core, alone.core)
    assert len(surveys) == 2
    assert len(made) == 2 + 4
