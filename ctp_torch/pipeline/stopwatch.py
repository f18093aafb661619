"""Seconds per stage."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Stopwatch"]


class Stopwatch:
    """Wall-clock seconds of one stage after the other; CUDA work is waited for."""

    def __init__(self, progress: Callable[[str], None] | None = None) -> None:
        """``progress`` is called with the name of every stage that ends."""
        self.laps: dict[str, float] = {}
        self._progress = progress
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 3)
        self._last = now
        if self._progress is not None:
            self._progress(name)
