"""Blocks of a kernel matrix and their products with a few columns, compiled and by torch, against float64."""

import pytest
import torch

from ctp_torch.ops.kernel.fused import (
    add_growth_products,
    add_power_products,
    add_tile_products,
    working_memory,
    write_powers,
)

SHAPES = [(1, 1), (7, 13), (9, 37), (12, 64), (970, 69), (130, 1030)]  # tails of panels, groups and blocks, and none


def _normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _memory(x, z, columns):
    """As used before: whatever is left there has no part in the next block."""
    return working_memory(x, len(x), len(z), features=x.shape[1], columns=columns).fill_(torch.nan)


@pytest.mark.parametrize(("rows", "m"), SHAPES)
@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("size", [1e-2, 0.2, 1.0])
def test_growth_products_add_to_what_is_there(rows, m, columns, size, loops):
    """Weights are a part of wider ones. Mutations seen red: weights read without their stride; sums of a group of
    rows not started anew; rows of a tail left out; replaced instead of added."""
    x, z, P = size * _normal(rows, 6), size * _normal(m, 6, seed=1), _normal(columns, m + 3, seed=2)[:, :m]
    start, exponent = _normal(columns, rows, seed=3, dtype=torch.float64), x.double() @ z.double().mT
    growth, across = exponent.exp2() - 1.0, start.clone()
    add_growth_products(across, x, z, P, largest=float(exponent.abs().max()), memory=_memory(x, z, columns))
    rounded = growth.abs() + exponent.exp2() * (x.double().abs() @ z.double().abs().mT)  # the power's, the exponent's
    atol = 2e-7 * float((rounded @ P.double().abs().mT).max())
    if loops == "torch":  # powers are rounded at the scale of 1
        atol += 4e-7 * float(P.double().abs().sum(1).max())
    torch.testing.assert_close(across, start + P.double() @ growth.mT, rtol=0, atol=atol)


def test_compiled_growth_is_right_to_the_last_digits(loops):
    """Over the whole range, and for exponents far below the rounding of 1. Mutations seen red: 1 subtracted from the
    power; the fifth coefficient off by a hundredth."""
    if loops == "torch":
        pytest.skip("torch rounds powers at the scale of 1")
    ends = torch.logspace(-12, 1.93, 400)
    t = torch.cat([-ends, ends, torch.linspace(-86, 86, 2001)])[:, None]
    across, one = torch.zeros(1, len(t), dtype=torch.float64), torch.ones(1, 1)
    add_growth_products(across, t, one, one, largest=86.0, memory=_memory(t, one, 1))
    torch.testing.assert_close(across[0], torch.expm1(t[:, 0].double() * 0.6931471805599453), rtol=3e-7, atol=0)


def _block(rows, m, dtype):
    """Samples whose dot products reach from -40 to a little above 0, and the powers of these."""
    x, z = -_normal(rows, 5, dtype=dtype).square(), _normal(m, 5, seed=1, dtype=dtype).square()
    x[0] = 1e-4  # above 0 by rounding, as it may be
    return x, z, (x.double() @ z.double().mT).clamp_max(0.0).exp2()


@pytest.mark.parametrize(("rows", "m"), SHAPES)
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("both", [True, False])
def test_power_products_go_both_ways(rows, m, columns, both, dtype, loops):
    """Mutations seen red: what is above 0 not cut, nor what is far below; what a tail leaves of a panel not cleared,
    nor weights there; sums across not started anew; rows of the second block added to the first's."""
    x, z, K = _block(rows, m, dtype)
    P, Q = _normal(columns, m, seed=2, dtype=dtype), _normal(columns, rows, seed=3, dtype=dtype)
    across, down = _normal(columns, rows, seed=4, dtype=dtype), _normal(columns, m, seed=5, dtype=dtype)
    expected = across.double() + P.double() @ K.mT, down.double() + Q.double() @ K
    add_power_products(across, x, z, P, memory=_memory(x, z, columns), **({"down": down, "Q": Q} if both else {}))
    atol = {torch.float32: 5e-5, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(across.double(), expected[0], rtol=0, atol=atol)
    if both:
        torch.testing.assert_close(down.double(), expected[1], rtol=0, atol=atol)


@pytest.mark.parametrize(("rows", "m"), SHAPES)
def test_powers_are_written_into_a_larger_matrix(rows, m, dtype, loops):
    """And nothing beside them. Mutations seen red: rows as far apart as they are long; the second block of columns on
    the first; whole panels written (which ends in a crash)."""
    x, z, K = _block(rows, m, dtype)
    whole = torch.full((rows + 2, m + 3), -1.0, dtype=dtype)
    assert write_powers(whole[1:-1, 1:-2], x, z).data_ptr() == whole[1:, 1:].data_ptr()
    atol = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    torch.testing.assert_close(whole[1:-1, 1:-2].double(), K, rtol=0, atol=atol)
    whole[1:-1, 1:-2] = -1.0
    assert bool((whole == -1.0).all())


@pytest.mark.parametrize(("rows", "m"), [(9, 37), (970, 1030)])
@pytest.mark.parametrize("columns", [1, 3])
def test_memory_is_enough(rows, m, columns, dtype, loops):
    """Nothing is written behind it. Mutation seen red: none counted for the sums across."""
    x, z, _ = _block(rows, m, dtype)
    needed = len(_memory(x, z, columns))
    memory = torch.full((needed + 1000,), 7.0, dtype=dtype)
    P, Q = torch.ones(columns, m, dtype=dtype), torch.ones(columns, rows, dtype=dtype)
    add_power_products(Q.clone(), x, z, P, memory=memory[:needed], down=P.clone(), Q=Q)
    assert bool((memory[needed:] == 7.0).all())


def test_samples_that_lie_by_columns_are_read_as_they_are(dtype, loops):
    """Mutation seen red: neither made contiguous nor looked at."""
    x, z, K = _block(21, 34, dtype)
    x, z = x.mT.contiguous().mT, z.mT.contiguous().mT
    assert not x.is_contiguous()
    out, ones = torch.empty(21, 34, dtype=dtype), torch.ones(1, 34, dtype=dtype)
    across = torch.zeros(1, 21, dtype=dtype)
    add_power_products(across, x, z, ones, memory=_memory(x, z, 1))
    torch.testing.assert_close(write_powers(out, x, z).double(), K, rtol=0, atol=1e-6)
    torch.testing.assert_close(across[0].double(), K.sum(1), rtol=0, atol=1e-5)


def test_far_samples_have_no_part_and_nan_stays(dtype, loops):
    """Exponents below what the dtype's powers reach, and one that is no number."""
    x, z = torch.eye(2, dtype=dtype), torch.tensor([[-1e4, 0.0], [-130.0, float("nan")], [-5000.0, -1.0]], dtype=dtype)
    x[1, 0], z[1, 0] = 0.0, -130.0
    ones = torch.ones(1, 3, dtype=dtype)
    across, down = torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 3, dtype=dtype)
    z_of_first = torch.stack([z[:, 0], torch.zeros(3, dtype=dtype)], dim=1)
    add_power_products(across, x, z_of_first, ones, memory=_memory(x, z, 1), down=down, Q=ones[:, :2].clone())
    assert 0.0 <= float(across[0, 0]) < 1e-30
    assert float(across[0, 1]) == 3.0
    across.zero_()
    down.zero_()
    add_power_products(across, x, z, ones, memory=_memory(x, z, 1), down=down, Q=ones[:, :2].clone())
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
    with pytest.raises(ValueError, match="columns lie 16 and 8 apart"):
        add_tile_products(narrow.clone(), narrow.clone(), tile, wide, narrow)
    with pytest.raises(ValueError, match="columns lie 8 and 16 apart"):
        add_power_products(narrow.clone(), tile, tile, narrow, memory=_memory(tile, tile, 2), down=wide, Q=narrow)


def test_half_precision_and_mixed_dtypes_are_left_to_torch(loops):
    """Memory is never read as what it isn't. Red when the dtype of the block alone is looked at, or not at all."""
    x, z, K = _block(8, 9, torch.float32)
    P, Q = _normal(2, 9, seed=1), _normal(2, 8, seed=2)
    across, down = torch.zeros(2, 8).half(), torch.zeros(2, 9).half()
    add_power_products(across, x.half(), z.half(), P.half(), memory=torch.empty(0).half(), down=down, Q=Q.half())
    torch.testing.assert_close(across.double(), P.double() @ K.mT, rtol=0, atol=5e-2)
    with pytest.raises(RuntimeError):
        add_power_products(torch.zeros(2, 8).double(), x, z, P.double(), memory=torch.empty(0))
    with pytest.raises(RuntimeError):
        write_powers(torch.empty(8, 9).double(), x, z)
