"""A U-Net on whole slices: learns what one pixel can't tell, from slices of any size, and says nothing outside."""

import pytest
import torch

from ctp_torch.models import UNet, load_model
from ctp_torch.models.network.unet import _Levels


def slices(n, size, *, seed):
    """Two noisy features in a disc; targets: how bright the neighbourhood is, which one pixel can't tell; and one."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size + 4), indexing="ij")
    inside = (y**2 + x**2 < 0.8)[None, ..., None].expand(n, -1, -1, -1)
    centre = torch.rand(n, 2, 1, 1, generator=generator) - 0.5
    blob = torch.exp(-((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2) / 0.1)[..., None]  # (n, rows, columns, 1)
    X = torch.cat([blob + 0.5 * torch.randn(blob.shape, generator=generator), 1 + blob * 0], dim=-1)
    return X * inside, torch.cat([blob, 2 - blob], dim=-1) * inside


@pytest.fixture(scope="module")
def fitted():
    X, Y = slices(24, 24, seed=0)
    return UNet(width=4, steps=150, learning_rate=1e-2).fit(X, Y), X, Y


def test_it_learns_from_the_neighbourhood(fitted):
    """Slices of another size too. Mutations seen red: coarse levels left out of the way up; rows padded at the top."""
    model, X, Y = fitted
    new, truth = slices(5, 30, seed=1)
    inside = new.abs().sum(-1) > 0
    error = (model.predict(new) - truth)[inside].square().mean()
    alone = (new[..., :1] - truth[..., :1])[inside].square().mean()
    assert error < 0.15 * alone
    assert model.score(X, Y) > 0.8


def test_nothing_is_said_outside(fitted):
    model, X, _ = fitted
    outside = (X == 0).all(-1)
    answers = model.predict(X)
    assert float(answers[outside].abs().max()) == 0
    with pytest.raises(ValueError, match="no pixel lies inside"):
        UNet(steps=1).fit(torch.zeros(2, 8, 8, 1), torch.zeros(2, 8, 8, 1))
    with pytest.raises(ValueError, match=r"\(slices, rows, columns, features\)"):
        UNet(steps=1).fit(torch.ones(20, 3), torch.ones(20, 1))


def test_seed_and_file(fitted, tmp_path):
    model, X, Y = fitted
    again = UNet(width=4, steps=150, learning_rate=1e-2).fit(X, Y)
    assert torch.equal(again.weights_, model.weights_)
    other = UNet(width=4, steps=3, seed=1).fit(X, Y)
    assert not torch.equal(other.weights_, UNet(width=4, steps=3).fit(X, Y).weights_)
    model.save(tmp_path / "unet.safetensors")
    loaded = load_model(tmp_path / "unet.safetensors")
    assert loaded.get_params() == model.get_params()
    assert loaded.get_params()["batch_size"] == 8
    torch.testing.assert_close(loaded.predict(X), model.predict(X), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_answers_alike(fitted):
    model, X, _ = fitted
    there = UNet(width=4, steps=150, learning_rate=1e-2).fit(*(t.cuda() for t in fitted[1:]))
    assert there.predict(X.cuda()).device.type == "cuda"
    expected = model.predict(X)
    model.to("cuda")
    torch.testing.assert_close(model.predict(X.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)
    model.to("cpu")


def test_levels_are_convolutions_by_hand():
    """One level is two convolutions and a linear layer a pixel, times what lies inside."""
    module = _Levels(1, 3, 1, 2)
    X = torch.randn(2, 6, 5, 2, generator=torch.Generator().manual_seed(2))
    X[..., 0] = (X[..., 0] > 0).float()
    values = X.permute(0, 3, 1, 2)
    for layer in module.down[0]:
        values = layer(values)
    torch.testing.assert_close(module(X), module.last(values).permute(0, 2, 3, 1) * X[..., :1])
