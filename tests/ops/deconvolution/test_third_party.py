"""Curves made by somebody else: the 14 of OSIPI's DSC collection, with their true CBF and CBV."""

import csv

import numpy as np
import pytest
import torch

from ctp_torch.ops.deconvolution.svd import csvd, osvd
from ctp_torch.ops.deconvolution.vascular import vascular_model

DT = 1.243


@pytest.fixture(scope="module")
def osipi(third_party):
    with (third_party / "osipi" / "dsc_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = torch.tensor(np.stack([np.array(row["C_tis"].split(), float) for row in rows]))
    aif = torch.tensor(np.array(rows[0]["C_aif"].split(), float))
    cbv, cbf = (np.array([float(row[name]) for row in rows]) for name in ("cbv", "cbf"))
    return curves, aif, cbv, cbf


def factor(cbv, cbf):
    """These curves were convolved by rectangles, which count the first sample of the residue twice."""
    return 1 + DT / (2 * 60 * cbv / cbf)


def test_blood_volume(osipi):
    curves, aif, cbv, cbf = osipi
    found = csvd(curves, aif, DT, kh=1.0, rho=1.0)
    np.testing.assert_allclose(found.cbv.numpy() / cbv, factor(cbv, cbf), rtol=0.07)


@pytest.mark.parametrize("method", [csvd, osvd])
def test_flow_ranks(osipi, method):
    """Within each CBV a higher true CBF is a higher CBF found."""
    curves, aif, cbv, _ = osipi
    found = method(curves, aif, DT, kh=1.0, rho=1.0).cbf
    for volume in (2, 4):
        assert bool((found[torch.tensor(cbv == volume)].diff() > 0).all())


def test_vascular_model_flow(osipi):
    """CBF over the truth is the same factor, within 7 %."""
    curves, aif, cbv, cbf = osipi
    found = vascular_model(curves, aif, DT, kh=1.0, rho=1.0)
    np.testing.assert_allclose(found.cbf.numpy() / cbf, factor(cbv, cbf), rtol=0.07)
