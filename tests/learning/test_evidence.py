"""The evidence of a Gaussian process, against torch's own normal distribution and scikit-learn's optimum."""

import json
import math
import sys

import pytest
import torch

from ctp_torch.errors import CTPError, UnreadableFileError
from ctp_torch.learning.evidence import maximise_evidence, read_evidence
from ctp_torch.models import KernelRidge


def samples(n=70, *, seed=0):
    """Four features in other units, of which the third tells nothing; two targets with noise."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, 4, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 10.0, 5.0, 0.1]) + 3.0
    z = (X - X.mean(0)) / X.std(0)
    Y = torch.stack([torch.sin(1.5 * z[:, 0]) + z[:, 1], z[:, 1] * z[:, 3]], 1)
    return X, 7.0 + 3.0 * (Y + 0.1 * torch.randn(n, 2, generator=generator, dtype=torch.float64))


def log_evidence(X, Y, found, *, signal):
    """The log density of the standardised targets under the process that was found, by torch's own normal."""
    scaled = (X - torch.tensor(found.feature_mean, dtype=X.dtype)) / torch.tensor(found.feature_sd, dtype=X.dtype)
    covariance = signal * (
        torch.exp(-found.gamma * torch.cdist(scaled, scaled).square()) + found.alpha * torch.eye(len(X), dtype=X.dtype)
    )
    y = (Y - Y.mean(0)) / Y.std(0)
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(X), dtype=X.dtype), covariance)
    return float(normal.log_prob(y.T).sum()) / Y.numel()


def test_evidence_is_that_of_a_normal_distribution_at_its_best_signal(device):
    """Mutations seen red: alpha's inverse; feature_sd without the features' own deviation; gamma without its half."""
    X, Y = samples()
    found = maximise_evidence(X.to(device), Y.to(device))
    levels = [math.exp(step / 20) for step in range(-60, 120)]
    best = max(log_evidence(X, Y, found, signal=level) for level in levels)
    assert found.log_evidence == pytest.approx(best, abs=2e-3)
    assert found.log_evidence > found.log_evidence_isotropic + 0.05


@pytest.mark.filterwarnings("ignore:The optimal value found")  # a feature that tells nothing is at the bound
def test_optimum_is_that_of_scikit_learn():
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    X, Y = samples(50)
    z, y = ((V - V.mean(0)) / V.std(0) for V in (X, Y))
    start = kernels.ConstantKernel(1.0) * kernels.RBF([2.0] * 4, (1e-2, 1e4)) + kernels.WhiteKernel(0.1, (1e-4, 1.0))
    theirs = gaussian_process.GaussianProcessRegressor(start).fit(z.numpy(), y.numpy())
    found = maximise_evidence(X, Y, steps=80)
    assert found.log_evidence == pytest.approx(theirs.log_marginal_likelihood_value_ / Y.numel(), abs=1e-3)
    assert sum(found.relevance) == pytest.approx(1.0)
    assert found.relevance[2] < 0.05 * min(found.relevance[i] for i in (0, 1, 3)), "the third feature tells nothing"
    scale = torch.tensor(found.feature_sd, dtype=X.dtype)
    shift = torch.tensor(found.feature_mean, dtype=X.dtype)
    ours = KernelRidge(alpha=found.alpha, gamma=found.gamma).fit((X - shift) / scale, Y).predict((X - shift) / scale)
    mean = torch.from_numpy(theirs.predict(z.numpy())) * Y.std(0) + Y.mean(0)
    torch.testing.assert_close(ours, mean, rtol=0, atol=0.05)


def test_same_input_same_answer_and_a_constant_target_is_left_out():
    X, Y = samples(30)
    once, again = maximise_evidence(X, Y), maximise_evidence(X, torch.cat([Y, torch.ones(30, 1)], 1))
    assert once == again
    with pytest.raises(CTPError, match="every target is constant"):
        maximise_evidence(X, torch.ones(30, 1))
    with pytest.raises(CTPError, match=r"5,001 samples are too many .* at most 5,000"):
        maximise_evidence(torch.zeros(5001, 1), torch.zeros(5001, 1))


def test_gpytorch_computes_it(monkeypatch):
    """The library that is there for it is the one that does it."""
    monkeypatch.setitem(sys.modules, "gpytorch.kernels", None)
    with pytest.raises(ImportError):
        maximise_evidence(*samples(20))


def test_file_gives_it_back(tmp_path):
    found = maximise_evidence(*samples(20), steps=3)
    found.save(tmp_path / "evidence.json")
    assert read_evidence(tmp_path / "evidence.json") == found
    stored = json.loads((tmp_path / "evidence.json").read_text(encoding="utf-8"))
    for damage in ({"feature_sd": [0.0, 1, 1, 1]}, {"alpha": float("nan")}, {"feature_mean": [1.0]}, {"gamma": None}):
        (tmp_path / "damaged.json").write_text(json.dumps({**stored, **damage}), encoding="utf-8")
        with pytest.raises(UnreadableFileError, match=r"evidence\.json"):
            read_evidence(tmp_path / "damaged.json")
    with pytest.raises(UnreadableFileError):
        read_evidence(tmp_path / "nothing.json")
