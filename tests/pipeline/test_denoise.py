"""Denoising as a step of the story: said in the record, refused by models that learned otherwise."""

import pytest
import torch
from scenes import scan as drawn

from ctp_torch import pipeline
from ctp_torch.data.provenance import Preparation
from ctp_torch.errors import CTPError, ModelMismatchError
from ctp_torch.models import Ridge
from ctp_torch.pipeline.analysis import MapSettings, analyse
from ctp_torch.pipeline.denoise import DENOISERS, denoise
from ctp_torch.pipeline.recipe import Recipe


@pytest.fixture(scope="module")
def ready():
    series, _ = drawn(n=48, n_slices=2, frames=30)
    return pipeline.prepare(series, registration="none")


@pytest.mark.parametrize("how", ["bilateral", "low-rank"])
def test_less_noise_and_the_record_says_so(ready, how):
    from ctp_torch.ops.bolus.concentration import curve_noise

    done = denoise(ready, how)
    brain = ready.anatomy.brain
    assert curve_noise(done.enhancement[:, brain].T) < 0.9 * curve_noise(ready.enhancement[:, brain].T)
    assert done.series.provenance.preparation == Preparation("none", 1, how)
    assert done.anatomy is ready.anatomy
    assert denoise(ready, "none") is ready


def test_analyse_denoises_and_a_model_of_raw_curves_refuses(ready):
    series, _ = drawn(n=48, n_slices=2, frames=30)
    settings = MapSettings(registration="none", denoise="low-rank", lesions=False)
    analysis = analyse(series, settings)
    assert analysis.used["denoise"] == "low-rank"
    plain = analyse(series, MapSettings(registration="none", lesions=False))
    assert "denoise" not in plain.used
    assert not torch.equal(analysis.maps["cbf"], plain.maps["cbf"])
    model = Ridge().fit(torch.rand(40, 30), torch.rand(40, 1))
    recipe = Recipe(30, series.dt, {"cbf": (0.0, 60.0)}, median_size=1)
    model.metadata_ = {"recipe": recipe.as_metadata()}
    with pytest.raises(ModelMismatchError, match="denoised by low-rank"):
        pipeline.predict(denoise(ready, "low-rank"), model)


def test_a_scan_made_ready_is_denoised_too_but_once(ready):
    """Mutation seen red: scans passed over, so that the maps were those without, and nothing said so."""
    settings = MapSettings(registration="none", denoise="low-rank", lesions=False)
    once = analyse(ready, settings)
    assert once.used["denoise"] == "low-rank"
    assert torch.equal(once.maps["cbf"], analyse(denoise(ready, "low-rank"), settings).maps["cbf"])


def test_another_name_is_refused(ready):
    with pytest.raises(ValueError, match="bilateral, low-rank"):
        denoise(ready, "magic")
    with pytest.raises(CTPError, match="unknown way to denoise"):
        MapSettings(denoise="magic").check()
    assert DENOISERS[0] == "none"
