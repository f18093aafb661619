"""Large vessels told from tissue by the height of their curves alone."""

import pytest
import torch

from ctp_torch.ops import find_large_vessels

SPACING = (5.0, 1.0, 1.0)
TIMES = torch.arange(40.0)


def _bolus(delay: float, width: float = 3.0) -> torch.Tensor:
    """``(time,)`` of height 1."""
    return torch.exp(-0.5 * ((TIMES - 15.0 - delay) / width).square())


def _head(noise: float, generator: torch.Generator, scale: float = 1.0) -> torch.Tensor:
    """Enhancement ``(time, z, y, x)``: white matter of 1, grey of 2, a late lesion of 0.4, three vessels in them."""
    blood = torch.ones(2, 48, 40)
    blood[:, 24:] = 2.0
    curves = blood[None] * _bolus(1.0, 5.0)[:, None, None, None]
    curves[:, :, 4:14, 24:36] = 0.4 * _bolus(8.0, 6.0)[:, None, None, None]
    for y, x, delay, share in ((10, 10, -3.0, 1.0), (30, 20, 4.0, 0.12), (36, 30, 0.0, 0.08)):
        curves[:, :, y, x] += 60.0 * share * _bolus(delay)[:, None]
    hu = scale * 4.0 * curves + noise * torch.randn(curves.shape, generator=generator)
    return hu - hu[:6].mean(dim=0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_vessels_and_their_partial_volumes_are_found_whatever_the_scale(scale, generator, device):
    """Early and late ones alike, and nothing else. Mutation seen red: a threshold in HU instead of a share."""
    enhancement = _head(0.05 * scale, generator, scale).to(device)
    mostly, partly = find_large_vessels(enhancement, torch.ones(2, 48, 40, dtype=torch.bool, device=device), SPACING)
    assert mostly.nonzero().tolist() == [[z, 10, 10] for z in (0, 1)]
    assert partly.nonzero().tolist() == [[z, y, x] for z in (0, 1) for y, x in ((30, 20), (36, 30))]


@pytest.mark.parametrize("noise", [4.0, 12.0, 40.0])
def test_noise_makes_no_vessels(noise, generator):
    """It hides them. Mutation seen red: without the noise in the least height, a tenth of the tissue is taken."""
    enhancement = _head(noise, generator)
    found = find_large_vessels(enhancement, torch.ones(2, 48, 40, dtype=torch.bool), SPACING).any
    vessels = torch.zeros(48, 40, dtype=torch.bool)
    vessels[[10, 30, 36], [10, 20, 30]] = True
    assert int((found & ~vessels).sum()) <= 4  # of 3840
    assert bool(found[:, 10, 10].all())


def test_a_wide_region_with_much_blood_is_tissue(generator):
    """A tumour keeps its flow but at its corners. Mutation seen red: without the opening it is all partial volume."""
    enhancement = _head(0.05, generator)
    enhancement[:, :, 26:44, 2:16] = 4.0 * 7.0 * _bolus(1.0, 5.0)[:, None, None, None]
    partly = find_large_vessels(enhancement, torch.ones(2, 48, 40, dtype=torch.bool), SPACING).partly
    assert float(partly[:, 26:44, 2:16].float().mean()) < 0.15
    assert not bool(partly[:, 30:40, 2:16].any())
    assert bool(partly[:, 30, 20].all())


def test_without_a_bolus_or_a_mask_there_are_none(generator):
    flat = torch.zeros(20, 2, 8, 9)
    everything = torch.ones(2, 8, 9, dtype=torch.bool)
    noise = torch.full_like(flat, torch.nan)
    for enhancement, mask in ((flat, everything), (noise, everything), (flat + 1.0, ~everything)):
        assert not bool(find_large_vessels(enhancement, mask, SPACING).any.any())
