"""The two ways to call a deconvolution give one answer, and its signature and words say both."""

import inspect
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from deconvolutions import METHODS as CASES
from oracles.analytic_curves import GammaVariate

from ctp_torch import ops
from ctp_torch.data.methods import METHODS
from ctp_torch.ops.deconvolution.passage import FlatCurveWarning
from ctp_torch.pipeline.methods import method_of

T = torch.arange(40, dtype=torch.float64)
AIF = torch.tensor(GammaVariate()(T.numpy()))


def curves():
    return torch.stack((0.04 * AIF.roll(1), torch.zeros_like(AIF), 0.05 * AIF.roll(2)))


@pytest.mark.parametrize("name", CASES)
def test_a_passage_is_as_good_as_its_curves(name):
    """Times, kh and rho reach the passage, which warns once, when it is made. Mutation seen red: kh left out."""
    facts = {"times": T * 1.5, "kh": 0.8, "rho": 1.05}
    with pytest.warns(FlatCurveWarning):
        result = CASES[name](curves(), AIF, 1.0, **facts)
    with pytest.warns(FlatCurveWarning):
        passage = ops.Passage(curves(), AIF, 1.0, **facts)
    same = CASES[name](passage)  # a second warning would be an error here
    for quantity, values in result.maps().items():
        assert torch.equal(same.maps()[quantity], values), quantity
    plain = CASES[name](passage.curves[::2], AIF, 1.0, times=T * 1.5)
    torch.testing.assert_close(result.cbf[::2], plain.cbf * (0.8 / 1.05) / (0.55 / 0.75 / 1.04))


@pytest.mark.parametrize("name", METHODS)
def test_signature_words_and_maps(name):
    """Mutations seen red: the table without oefmax; the method's own words alone."""
    method = method_of(name)
    parameters = inspect.signature(method).parameters
    assert [*parameters][:7] == ["curves", "aif", "dt", "times", "aif_times", "kh", "rho"]
    assert "passage" not in parameters
    assert method.__name__ == name
    assert pickle.loads(pickle.dumps(method)) is method
    section = inspect.getdoc(method).split("Parameters\n")[1].split("Returns\n")[0]
    described = {word for line in section.splitlines() if line[:1].isalpha() for word in line.split(", ")}
    assert described == {"passage", *parameters}
    with pytest.warns(FlatCurveWarning):
        result = method(curves(), AIF, 1.0)
    assert set(result.maps()) == set(METHODS[name].quantities)


def test_calls_that_make_no_sense():
    with pytest.warns(FlatCurveWarning):
        passage = ops.Passage(curves(), AIF, 1.0)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'dt'"):
        ops.csvd(curves(), AIF)
    with pytest.raises(TypeError, match="unexpected keyword argument 'times'"):
        ops.csvd(passage, times=T)
    with pytest.raises(ValueError, match="kh and rho must be positive"):
        ops.Passage(curves(), AIF, 1.0, kh=0.0)
    with pytest.raises(FrozenInstanceError):
        passage.dt = 2.0
    with pytest.raises(FrozenInstanceError):
        ops.csvd(passage).cbf = passage.cbv
