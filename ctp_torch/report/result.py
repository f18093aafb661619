"""The record that one run leaves beside its maps: how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_record"]


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """``run.json``: how the results in this folder were made."""
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
