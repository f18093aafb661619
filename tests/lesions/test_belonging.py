"""Thresholds meet the maps they belong to, or a reason; none are borrowed silently."""

import json
from dataclasses import asdict, replace

import pytest

from ctp_torch.data.methods import METHODS
from ctp_torch.errors import CTPError
from ctp_torch.lesions.belonging import MapsOrigin, bind, conventional_thresholds, misfit, shipped_thresholds
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds, write_thresholds
from ctp_torch.pipeline.deconvolve import SMOOTHINGS
from ctp_torch.pipeline.measure import choose_thresholds

ORIGIN = MapsOrigin("csvd", "beside", 2.5, 256)
OWN = bind(Thresholds(rcbf=0.5), [ORIGIN._replace(matrix=128), ORIGIN])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_thresholds_of_its_own_or_a_reason(method):
    """Mutation seen red: a method of the table without a file and without a reason."""
    limits, why = shipped_thresholds(ORIGIN._replace(method=method))
    assert (limits is None) == bool(why)
    if limits is not None:
        assert (limits.method, limits.smoothing, limits.width_mm) == (method, "beside", SMOOTHINGS["beside"])
        assert misfit(limits, ORIGIN._replace(method=method)) == ""


def test_the_console_like_way_has_its_own():
    limits, _ = shipped_thresholds(MapsOrigin("csvd", "inside", 2.0, 256))
    assert limits is not None
    assert limits.smoothing == "inside"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"method": "ssvd"}, "for csvd, the maps are ssvd's"),
        ({"smoothing": "inside"}, "smoothed inside"),
        ({"width_mm": 4.0}, "2.5 mm"),
        ({"matrix": 4096}, "64 to 2048"),
    ],
)
def test_thresholds_of_other_maps_are_refused_unless_forced(other, named):
    """Mutations seen red, one a row: the comparison left out of ``misfit``."""
    with pytest.raises(CTPError, match=named):
        choose_thresholds(OWN, ORIGIN._replace(**other))
    assert choose_thresholds(OWN, ORIGIN._replace(**other), force=True) == (OWN, "")
    assert choose_thresholds(OWN, ORIGIN) == (OWN, "")


def test_what_is_not_known_is_not_held_against_them():
    assert misfit(OWN, MapsOrigin("", "", 0.0, 256)) == ""
    assert misfit(Thresholds(), ORIGIN) == ""
    assert shipped_thresholds(MapsOrigin("", "", 0.0, 256))[0] is None


def test_a_matrix_unlike_any_calibrated_tells_no_volume():
    limits, why = shipped_thresholds(ORIGIN._replace(matrix=2048))
    assert limits is None
    assert "2048" in why


def test_a_delay_is_late_earlier_than_a_tmax():
    """Mutation seen red: one rule for all, by which the Bayesian method shows nothing."""
    assert conventional_thresholds("csvd").late_rule == "Tmax > 6 s"
    assert conventional_thresholds("bayesian").late_rule == "delay > 3 s"
    assert bind(Thresholds(), [ORIGIN._replace(method="bayesian")]).timing == "delay"


def test_an_older_file_belongs_to_what_was_then_the_only_way(tmp_path):
    old = {
        k: v for k, v in asdict(replace(OWN, smoothing="", width_mm=0.0)).items() if k not in ("smoothing", "width_mm")
    }
    (tmp_path / "old.json").write_text(json.dumps({"thresholds": old, "sigma_mm": 3.0}))
    assert (read_thresholds(tmp_path / "old.json").smoothing, read_thresholds(tmp_path / "old.json").width_mm) == (
        "inside",
        3.0,
    )
    write_thresholds(OWN, tmp_path / "new.json")
    assert read_thresholds(tmp_path / "new.json") == OWN


class _Model:
    metadata_: dict


def test_a_model_without_thresholds_tells_why_and_with_them_uses_them():
    model = _Model()
    model.metadata_ = {}
    limits, why = choose_thresholds(None, MapsOrigin("", "", 0.0, 256), model)
    assert limits is None
    assert "no thresholds of its own" in why
    model.metadata_ = {"calibration": {"reason": "they miss too much"}}
    assert choose_thresholds(None, MapsOrigin("", "", 0.0, 256), model)[1].startswith("they miss too much;")
    model.metadata_ = {"thresholds": {"rcbf": 0.4}}
    limits, why = choose_thresholds(None, MapsOrigin("", "", 0.0, 256), model)
    assert limits == Thresholds(rcbf=0.4, method="_Model")
