"""Blocks of a kernel matrix times a few columns, compiled and by torch, against float64."""

import pytest
import torch

from ctp_torch.ops.fused import add_growth_products, add_power_products, add_tile_products

SHAPES = [(1, 1), (7, 13), (9, 37), (4, 64), (130, 769)]  # tails of vectors and of groups of rows, and none


def _normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("rows", "m"), SHAPES)
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1e-3, 0.1, 3.0])
def test_growth_products_add_to_what_is_there(rows, m, columns, size, loops):
    """Weights are a part of wider ones. Mutations seen red: the tail of a row left out; weights read without their
    stride."""
    t, P = size * _normal(rows, m), _normal(columns, m + 3, seed=1)[:, :m]
    start = _normal(columns, rows, seed=2, dtype=torch.float64)
    growth, across = t.double().exp2() - 1.0, start.clone()
    largest = float(t.abs().max())
    add_growth_products(across, t.clone(), P, largest=largest, spare=torch.empty(rows * m))
    atol = 4e-7 * float((growth.abs() @ P.double().abs().mT).max())
    if loops == "torch":  # powers are rounded at the scale of 1
        atol += 4e-7 * float(P.double().abs().sum(1).max())
    torch.testing.assert_close(across, start + P.double() @ growth.mT, rtol=0, atol=atol)


def test_compiled_growth_is_right_to_the_last_digits(loops):
    """Over the whole range, and for exponents far below the rounding of 1. Mutations
    seen red: 1 subtracted from the power; the fifth coefficient off by a hundredth."""
    if loops == "torch":
        pytest.skip("torch rounds powers at the scale of 1")
    ends = torch.logspace(-12, 1.93, 400)
    t = torch.cat([-ends, ends, torch.linspace(-86, 86, 2001)])[:, None]
    across = torch.zeros(1, len(t), dtype=torch.float64)
    add_growth_products(across, t, torch.ones(1, 1), largest=86.0, spare=torch.empty(len(t)))
    torch.testing.assert_close(across[0], torch.expm1(t[:, 0].double() * 0.6931471805599453), rtol=3e-7, atol=0)


@pytest.mark.parametrize(("rows", "m"), SHAPES)
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_power_products_go_both_ways(rows, m, columns, dtype, loops):
    """Mutations seen red: rows of the second group of columns; what is above 0 not cut; the mirrored product replaced
    instead of added."""
    t = (0.001 - 5.0 * _normal(rows, m).square()).to(dtype)
    P, Q = _normal(columns, m, seed=1, dtype=dtype), _normal(columns, rows, seed=2, dtype=dtype)
    across, down = _normal(columns, rows, seed=3, dtype=dtype), _normal(columns, m, seed=4, dtype=dtype)
    K = t.double().clamp_max(0.0).exp2()
    expected = across.double() + P.double() @ K.mT, down.double() + Q.double() @ K
    add_power_products(across, down, t.clone(), P, Q)
    atol = {torch.float32: 3e-5, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(across.double(), expected[0], rtol=0, atol=atol)
    torch.testing.assert_close(down.double(), expected[1], rtol=0, atol=atol)


def test_far_samples_have_no_part_and_nan_stays(dtype, loops):
    """Exponents below what the dtype's powers reach, and one that is no number."""
    t = torch.tensor([[-1e4, -130.0, -5000.0], [0.0, float("nan"), -1.0]], dtype=dtype)
    ones = torch.ones(1, 3, dtype=dtype)
    across, down = torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 3, dtype=dtype)
    add_power_products(across, down, t, ones, ones[:, :2].clone())
    assert 0.0 <= float(across[0, 0]) < 1e-30
    assert across[0, 1].isnan()
    assert down[0].isnan().tolist() == [False, True, False]
    assert float(down[0, 0]) == 1.0


@pytest.mark.parametrize("side", [1, 16, 50])
def test_tile_products_go_both_ways(side, dtype, loops):
    """Columns of wider weights. Mutation seen red: p and q exchanged."""
    tile = _normal(side, side, dtype=dtype)
    P, Q = _normal(3, 2 * side, seed=1, dtype=dtype)[:, :side], _normal(3, 2 * side, seed=2, dtype=dtype)[:, side:]
    across, down = torch.ones(3, 2 * side, dtype=dtype)[:, :side], torch.ones(3, 2 * side, dtype=dtype)[:, side:]
    add_tile_products(across, down, tile, P, Q)
    atol = {torch.float32: 2e-5, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(across.double(), 1.0 + P.double() @ tile.double().mT, rtol=0, atol=atol)
    torch.testing.assert_close(down.double(), 1.0 + Q.double() @ tile.double(), rtol=0, atol=atol)


def test_columns_that_lie_differently_are_refused(loops):
    if loops == "torch":
        pytest.skip("torch takes any strides")
    tile, wide, narrow = torch.ones(8, 8), torch.ones(2, 16)[:, :8], torch.ones(2, 8)
    with pytest.raises(ValueError, match="columns apart 16 and 8"):
        add_tile_products(narrow.clone(), narrow.clone(), tile, wide, narrow)


def test_half_precision_and_mixed_dtypes_are_left_to_torch(loops):
    """Memory is never read as what it isn't. Red when the dtype of the block alone is looked at, or not at all."""
    t = -torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    P = _normal(2, 8, seed=1)
    across, down = torch.zeros(2, 8).half(), torch.zeros(2, 8).half()
    add_power_products(across, down, t.half(), P.half(), P.half())
    torch.testing.assert_close(across.float(), P @ t.exp2().mT, rtol=0, atol=2e-2)
    with pytest.raises(RuntimeError):
        add_power_products(torch.zeros(2, 8).double(), torch.zeros(2, 8).double(), t, P.double(), P.double())
