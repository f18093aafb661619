"""Arterial input and venous outflow of digital heads whose vessels are known.

Mutations that these tests catch: the largest instead of the smallest first moment in ``_earliest_cluster`` (a vein is
taken for the artery); no lag in ``select_vof`` (an artery for the vein); the ratio upside down in ``scale_aif``.
"""

import pytest
import torch
from oracles.vessels import gamma_variate, head

from ctp_torch import ops
from ctp_torch.errors import QualityError


def change(made):
    return ops.enhancement(made.hu, 7)


@pytest.mark.parametrize(("n", "n_slices", "slice_mm"), [(96, 6, 8.0), (128, 16, 2.0), (256, 2, 10.0)])
@pytest.mark.parametrize("partial", [1.0, 0.4])
def test_artery_and_vein_are_where_they_are(n, n_slices, slice_mm, partial, device):
    made = head(n, n_slices, slice_mm, partial=partial)
    moved, brain = change(made).to(device), made.brain.to(device)
    aif = ops.select_aif(moved, brain, 1.0, spacing=made.spacing)
    vof = ops.select_vof(moved, brain, 1.0, spacing=made.spacing, aif=aif.curve)
    assert not (aif.mask.cpu() & ~made.artery).any()
    assert not (vof.mask.cpu() & ~made.sinus).any()
    assert 4 <= int(aif.mask.sum()) <= 40
    assert 3 <= int(vof.mask.sum()) <= 40
    torch.testing.assert_close(aif.curve, moved[:, aif.mask].mean(dim=1), rtol=1e-4, atol=1e-3)
    scaled, ratio = ops.scale_aif(aif.curve.cpu(), vof.curve.cpu())
    onset = ops.bolus_onset(torch.stack([scaled, made.aif]), 1.0)
    assert abs(float(onset[0] - onset[1])) < 1.0
    assert float(scaled.sum() / made.aif.sum()) == pytest.approx(1.0, abs=0.05)
    assert ratio == pytest.approx(1.0 / partial, rel=0.08)


def test_vein_is_found_without_an_arterial_input():
    made = head(96, 4)
    vof = ops.select_vof(change(made), made.brain, 1.0, spacing=made.spacing)
    assert not (vof.mask & ~made.sinus).any()


def test_no_vein_in_the_slab_is_none():
    made = head(96, 4)
    brain = made.brain & ~ops.dilate(made.sinus, 4.0, made.spacing)
    aif = ops.select_aif(change(made), brain, 1.0, spacing=made.spacing)
    assert ops.select_vof(change(made), brain, 1.0, spacing=made.spacing, aif=aif.curve) is None


def test_no_bolus_is_refused():
    made = head(96, 3, bolus=0.0)
    with pytest.raises(QualityError, match="no artery found"):
        ops.select_aif(change(made), made.brain, 1.0, spacing=made.spacing)
    assert ops.select_vof(change(made), made.brain, 1.0, spacing=made.spacing) is None


def test_damaged_voxels_are_passed_over():
    made = head(96, 4)
    moved = change(made)
    moved[20, :, 40:50, 40:45] = torch.nan
    moved[3, 1, 55, 60] = torch.inf
    aif = ops.select_aif(moved, made.brain, 1.0, spacing=made.spacing)
    vof = ops.select_vof(moved, made.brain, 1.0, spacing=made.spacing, aif=aif.curve)
    assert aif.curve.isfinite().all()
    assert vof.curve.isfinite().all()
    with pytest.raises(QualityError, match="damaged"):
        ops.select_aif(moved * torch.nan, made.brain, 1.0, spacing=made.spacing)


def test_selection_follows_scale_and_order():
    made = head(96, 4)
    moved = change(made)
    aif = ops.select_aif(moved, made.brain, 1.0, spacing=made.spacing)
    louder = ops.select_aif(3 * moved, made.brain, 1.0, spacing=made.spacing)
    flipped = ops.select_aif(moved.flip(-1), made.brain.flip(-1), 1.0, spacing=made.spacing)
    assert torch.equal(aif.mask, louder.mask)
    assert torch.equal(aif.mask, flipped.mask.flip(-1))


def test_a_tiny_brain_still_has_an_artery():
    made = head(96, 1)
    brain = ops.dilate(made.artery, 1.0, made.spacing)
    assert ops.select_aif(change(made), brain, 1.0, spacing=made.spacing).mask.any()


def test_ratio_of_areas(dtype, device):
    aif = gamma_variate(torch.arange(60.0), 10.0).to(device, dtype)
    for factor, expected in ((3.6, 3.6), (1.0, 1.0), (0.5, 1.0), (12.0, 8.0)):
        scaled, ratio = ops.scale_aif(aif, factor * aif)
        assert ratio == pytest.approx(expected, rel=1e-6)
        torch.testing.assert_close(scaled, expected * aif, rtol=1e-5, atol=1e-5)
    late = gamma_variate(torch.arange(60.0), 14.0, beta=3.0).to(aif)
    assert ops.scale_aif(late / 3.6, late)[1] == pytest.approx(3.6, rel=1e-6)


def test_width_of_the_first_pass():
    curve = gamma_variate(torch.arange(0, 60, 0.5), 10.0)
    assert float(ops.curve_width(curve, 0.5)) == pytest.approx(11.41, abs=0.05)
    assert float(ops.curve_width(torch.stack([curve, 3 * curve]), 0.5).diff().abs()) < 1e-9
    rising = torch.arange(20.0)
    assert 8.0 < float(ops.curve_width(rising, 1.0)) <= 10.0


def test_refusals():
    curve = torch.ones(10)
    with pytest.raises(ValueError, match="same frames"):
        ops.scale_aif(curve, curve[:5])
    with pytest.raises(ValueError, match="positive area"):
        ops.scale_aif(curve, -curve)
    volumes, mask = torch.zeros(10, 2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)
    for select in (ops.select_aif, ops.select_vof):
        with pytest.raises(ValueError, match="over the mask"):
            select(volumes, mask[:1], 1.0, spacing=(1.0, 1.0, 1.0))
        with pytest.raises(ValueError, match="mask is empty"):
            select(volumes, ~mask, 1.0, spacing=(1.0, 1.0, 1.0))
