"""Flow as a share of what tissue of its density holds: grey against grey, white against white, places half by place."""

from dataclasses import replace

import pytest
import torch
from oracles.lesions import drawn, head_ct

from ctp_torch.lesions.find import find_lesions, survey
from ctp_torch.lesions.thresholds import Thresholds


def scene(factor=1.0, side=1.0):
    """A head with grey and white matter in CT and flow, whose lesion keeps ``factor`` of its flow."""
    healthy, _, _ = drawn(128, lesions=0)
    _, _, slow = drawn(128)
    white = (healthy["cbf"] == 25.0) & healthy.mask
    ct = head_ct(healthy)
    ct[white] = 28.0
    ct[healthy.mask & ~white] = 34.0
    x = torch.arange(128).expand_as(slow)
    cbf = healthy["cbf"] * torch.where(slow, factor, 1.0) * torch.where(x < 64, 1.0, side)
    values = {**healthy.values, "cbf": cbf, "tmax": torch.where(slow, 9.0, 1.5) * healthy.mask}
    return replace(healthy, values=values), ct, slow, white


def test_each_tissue_is_measured_against_its_own():
    """Mutation seen red: one class for all."""
    maps, ct, slow, white = scene(0.4)
    found = survey(maps, baseline=ct, tissue_mm=0.0).shares["cbf"]
    for tissue in (white, ~white & maps.mask):
        for share in found:
            assert float(share[tissue & slow].median()) == pytest.approx(0.4, abs=0.03)
        assert float(found.alone[tissue & ~slow].median()) == pytest.approx(1.0, abs=0.03)


def test_the_scale_of_the_map_is_of_no_matter():
    maps, ct, _, _ = scene(0.4)
    twice = replace(maps, values={**maps.values, "cbf": 2.0 * maps["cbf"]})
    one, other = (survey(m, baseline=ct).shares["cbf"] for m in (maps, twice))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_half_of_what_a_place_holds_is_told_by_the_mirrored_place():
    """A hemisphere with a fifth less flow than the other, none of it late: .8 by density, the root of it by place."""
    maps, ct, slow, _ = scene(1.0, side=0.8)
    found = survey(replace(maps, values={**maps.values, "tmax": 1.5 * maps.mask}), baseline=ct).shares["cbf"]
    x = torch.arange(128).expand_as(slow)
    ratio = found.balanced / found.alone
    middle = slow & (x > 80)
    opposite = middle.flip(2)
    assert float(found.alone[middle].median() / found.alone[opposite].median()) == pytest.approx(0.8, abs=0.03)
    assert float(ratio[opposite].median() / ratio[middle].median()) == pytest.approx(0.8**-0.5, abs=0.05)


def test_white_matter_at_forty_per_cent_is_no_core():
    maps, ct, slow, _ = scene(0.4)
    limits = Thresholds(tissue_mm=2.0)
    lesions = find_lesions(maps, baseline=ct, thresholds=limits)
    assert lesions.volumes()["core_ml"] < 0.02 * int(slow.sum()) * maps.geometry.voxel_volume_ml
    assert find_lesions(maps, baseline=ct).volumes()["core_ml"] > 10.0  # a fifth of grey matter's flow
    assert limits.core_rule == "CBF < 30% of such tissue"
    deep = scene(0.2)[0]
    assert find_lesions(deep, baseline=ct, thresholds=limits).volumes()["core_ml"] == pytest.approx(
        int(slow.sum()) * maps.geometry.voxel_volume_ml, rel=0.2
    )
