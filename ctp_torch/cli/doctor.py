"""``ctp-torch doctor``: is this machine ready? Versions, device, decoders, and a self-test."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import console
from ctp_torch.errors import CTPError, NoSeriesError

__all__ = ["doctor"]


def doctor(
    device: console.DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    clean: Annotated[
        Path | None,
        typer.Option("--clean", help="Remove what killed runs left in this folder and below, and do no more."),
    ] = None,
) -> None:
    """Show versions, device and decoders, and deconvolve known curves as a self-test (a few seconds)."""
    from ctp_torch.io.results.derivation import versions

    if clean is not None:
        _clean(clean)
        return
    import json

    import torch

    from ctp_torch.ops.compute.compiled import library_state

    target = console.pick_device(device)
    facts: dict[str, object] = {
        "versions": versions(),
        "device": torch.cuda.get_device_name(target) if target.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "free_memory_gb": _free_memory_gb(target),
        "compiled_loops": library_state(),
        "decoders": _decoders(),
        "brain_anatomy": _anatomy(),
    }
    started = time.perf_counter()
    problems = self_test(target)
    facts["self_test"] = problems or f"passed in {time.perf_counter() - started:.1f} s"
    if as_json:
        console.say(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            if isinstance(value, dict):
                console.say(f"{name.replace('_', ' ')}:")
                for key, entry in value.items():
                    console.say(f"  {key:<18} {entry}")
            else:
                console.say(f"{name.replace('_', ' ')}: {value}")
    if problems:
        raise CTPError("the self-test failed: " + "; ".join(problems))


def _clean(place: Path) -> None:
    """Remove the hidden folders of dead runs in a place and below, and in the system's temporary folder."""
    import tempfile

    from ctp_torch.io.workplace import sweep, sweep_below

    if not place.is_dir():
        raise NoSeriesError(f"--clean {place} is no folder; give the one that the killed run wrote into, or one above")
    gone = [*sweep_below(place, kept=True), *sweep(Path(tempfile.gettempdir()))]
    for path in gone:
        console.say(f"removed {path}")
    console.say(f"{len(gone)} leftovers of killed runs removed" if gone else "no killed run left anything")


def self_test(device: object) -> list[str]:
    """What went wrong with deconvolution, kernel ridge and the colour table on this device; empty when all is well."""
    import torch

    from ctp_torch import models, ops

    where = torch.device(str(device))
    problems = []
    time_s = torch.arange(60, dtype=torch.float32, device=where)
    u = (time_s - 10).clamp_min(0) / 4.5
    aif = 300 * u**3 * torch.exp(3 - 3 * u)  # gamma variate: peak 300 HU, 4.5 s after its onset
    flow = 60 / 6000 / 0.7051
    fine = torch.arange(0, 60, 0.05, dtype=torch.float64)
    v = (fine - 10).clamp_min(0) / 4.5
    sharp = 300 * v**3 * torch.exp(3 - 3 * v)
    residue = torch.exp(-fine / 4)
    tissue = torch.fft.irfft(torch.fft.rfft(sharp, 4096) * torch.fft.rfft(residue, 4096), 4096)[: len(fine)]
    curve = (flow * 0.05 * tissue[::20]).float().to(where)
    deconvolved = ops.csvd(curve[None], aif, 1.0)
    if abs(float(deconvolved.cbv[0]) - 4.0) > 0.1:
        problems.append(f"cSVD gave a blood volume of {float(deconvolved.cbv[0]):.2f} instead of 4.0 mL/100 g")
    if abs(float(deconvolved.cbf[0]) / 60 - 0.644) > 0.02:
        problems.append(f"cSVD gave {float(deconvolved.cbf[0]) / 60:.3f} of the blood flow instead of 0.644")
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(200, 5, generator=generator).to(where)
    fitted = models.KernelRidge(alpha=1e-4, gamma=1.0).fit(X, X.sum(dim=1))
    if fitted.score(X, X.sum(dim=1)) < 0.99:
        problems.append("kernel ridge doesn't fit a plane")
    index = torch.arange(256, device=where)
    lut = ops.jet_lut().to(where)
    if not torch.equal(ops.nearest_color_index(ops.apply_lut(index, lut), lut).long(), index):
        problems.append("the colour table doesn't invert")
    return problems


def _free_memory_gb(device: object) -> float:
    """Memory left on the device [GB]."""
    import torch

    from ctp_torch.ops import free_bytes

    return round(free_bytes(torch.device(str(device))) / 1e9, 1)


def _decoders() -> str:
    """The compressed transfer syntaxes that can be decoded."""
    from ctp_torch.io.dicom.codecs import SIMPLEITK_SYNTAXES

    return ", ".join(sorted(SIMPLEITK_SYNTAXES.values()))


def _anatomy() -> str:
    """Whether the brain anatomy of the digital patients is installed."""
    from importlib.util import find_spec

    return "yes" if find_spec("nilearn") else 'no: pip install "ctp-torch[demo]"'
