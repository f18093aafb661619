"""The motion of a series, estimated once and kept by the series' own numbers: whatever else is to be made of it."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.ops.motion.rigid import RigidMotion
from ctp_torch.pipeline.scan import REGISTRATIONS, Registration, estimate_motion

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries

__all__ = ["kept_motion"]


def kept_motion(series: CTPSeries, registration: Registration | None, folder: Path | None) -> RigidMotion | None:
    """The motion by a registration, from the folder where it was estimated before.

    Parameters
    ----------
    series
        as read, HU
    registration
        as in `ctp_torch.pipeline.prepare`; None for none
    folder
        one file a series and registration; None keeps nothing
    """
    if registration is None:
        return None
    names = [name for name, one in REGISTRATIONS.items() if one is registration]
    if folder is None or not names:
        return estimate_motion(series, registration)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ctp_torch.io.atomic import save_tensors

    facts = [names[0], version("ctp-torch"), series.geometry.spacing, *series.hu.shape]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(series.hu.cpu().contiguous().numpy().data)
    digest.update(series.times.cpu().contiguous().numpy().data)
    path = folder / f"motion-{digest.hexdigest()[:32]}.safetensors"
    try:
        return RigidMotion(**load_file(path, device=str(series.hu.device)))
    except (OSError, SafetensorError, TypeError):
        motion = estimate_motion(series, registration)
        save_tensors({name: part.cpu().contiguous() for name, part in motion._asdict().items()}, path)
        return motion
