"""A long computation in steps: each step's result is on disk whole or not at all, and known by what it depends on."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ctp_torch.io.atomic import whole
from ctp_torch.study.design.rows import Row

__all__ = ["Step", "fingerprint", "load_step", "perform", "seconds_of"]


class Step(NamedTuple):
    """One piece of work."""

    name: str
    """Of its file, without suffix; slashes make folders."""
    work: Callable[..., Any]
    """``work(folder, **settings)`` gives rows, or what JSON can hold; larger results it writes to files of its own."""
    settings: Mapping[str, Any]
    """Everything the result depends on."""


def load_step(folder: Path, step: Step) -> Any | None:
    """The result that an earlier run left under the same settings; None when there is none."""
    record = _read_record(folder, step)
    return None if record is None else record["result"]


def seconds_of(folder: Path, step: Step) -> float:
    """How long the step took [s]; 0 where it isn't done."""
    record = _read_record(folder, step)
    return 0.0 if record is None else float(record["seconds"])


def perform(folder: Path, step: Step) -> Any:
    """The result of a step as JSON holds it: an earlier run's where there is one, else computed now and kept.

    Parameters
    ----------
    folder
        of all steps
    step
        what to do
    """
    record = _read_record(folder, step)
    if record is None:
        started = time.perf_counter()
        result = _plain(step.work(folder, **step.settings))
        record = {
            "key": fingerprint(step.settings),
            "seconds": round(time.perf_counter() - started, 2),
            "settings": _plain(step.settings),
            "result": result,
        }
        with whole(folder / f"{step.name}.json", force=True) as partial:
            partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return record["result"]


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hash of settings."""
    return hashlib.sha256(json.dumps(_plain(settings), sort_keys=True).encode()).hexdigest()[:16]


def _read_record(folder: Path, step: Step) -> dict[str, Any] | None:
    """What the step's file holds, when it is one of these settings."""
    file = folder / f"{step.name}.json"
    if not file.is_file():
        return None
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record if record.get("key") == fingerprint(step.settings) else None


def _plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples and rows become lists, named tuples objects, NaN null."""
    if isinstance(value, Row):
        return _plain(value.cells)
    if hasattr(value, "_asdict"):
        return {"kind": type(value).__name__, **{k: _plain(v) for k, v in value._asdict().items()}}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
