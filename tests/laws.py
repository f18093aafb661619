"""Laws every deconvolution obeys, as reusable checks: each takes ``method(curves, aif, dt)`` and asserts."""

import torch


def _same(result, expected, parts, rtol, atol):
    for part in parts:
        found, wanted = getattr(result, part), getattr(expected, part)
        if wanted is not None:
            torch.testing.assert_close(
                found, wanted, rtol=rtol, atol=atol, msg=lambda text, part=part: f"{part}: {text}"
            )


def scaling_the_curve_scales_flow(method, curves, aif, dt, *, rtol=1e-6, atol=1e-6, factor=3.0):
    plain, scaled = method(curves, aif, dt), method(curves * factor, aif, dt)
    _same(scaled, plain, ("mtt", "tmax", "delay"), rtol, atol)
    for part in ("cbf", "cbv"):
        torch.testing.assert_close(getattr(scaled, part), factor * getattr(plain, part), rtol=rtol, atol=atol)


def scaling_both_changes_nothing(method, curves, aif, dt, *, rtol=1e-6, atol=1e-6, factor=3.0):
    _same(
        method(curves * factor, aif * factor, dt),
        method(curves, aif, dt),
        ("cbf", "cbv", "mtt", "tmax", "delay"),
        rtol,
        atol,
    )


def delay_moves_tmax(method, curves, later, aif, dt, shift, *, atol=0.01):
    """``later`` are ``curves`` delayed by ``shift`` s."""
    early, late = method(curves, aif, dt), method(later, aif, dt)
    torch.testing.assert_close(late.tmax, early.tmax + shift, rtol=0, atol=atol)


def delay_keeps_flow(method, curves, later, aif, dt, *, rtol=0.01):
    early, late = method(curves, aif, dt), method(later, aif, dt)
    torch.testing.assert_close(late.cbf, early.cbf, rtol=rtol, atol=0)


def permuting_voxels_permutes(method, curves, aif, dt, generator, *, rtol=1e-6, atol=1e-6):
    order = torch.randperm(len(curves), generator=generator).to(curves.device)
    whole, mixed = method(curves, aif, dt), method(curves[order], aif, dt)
    for part in ("cbf", "cbv", "mtt", "tmax", "delay", "k", "sd"):
        if getattr(whole, part) is not None:
            torch.testing.assert_close(getattr(mixed, part), getattr(whole, part)[order], rtol=rtol, atol=atol)


def chunked_is_whole(method, curves, aif, dt, *, rtol=1e-6, atol=1e-6):
    whole, cut = method(curves, aif, dt), len(curves) // 3
    parts = [method(part, aif, dt) for part in (curves[:cut], curves[cut:])]
    for part in ("cbf", "cbv", "mtt", "tmax", "delay", "sd"):
        if getattr(whole, part) is not None:
            joined = torch.cat([getattr(p, part) for p in parts])
            torch.testing.assert_close(joined, getattr(whole, part), rtol=rtol, atol=atol)


def follows_device_and_dtype(method, curves, aif, dt):
    result = method(curves, aif, dt)
    for part in (*result.maps().values(), result.delay, result.k, result.lags, result.sd):
        if part is not None:
            assert part.dtype == curves.dtype
            assert part.device.type == curves.device.type
