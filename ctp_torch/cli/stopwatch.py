"""Seconds per stage, for people."""

from __future__ import annotations

import time

__all__ = ["Stopwatch"]


class Stopwatch:
    """Wall-clock seconds of one stage after the other; CUDA work is waited for."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 3)
        self._last = now

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.laps.values())

    def table(self) -> str:
        """One line a stage."""
        width = max(map(len, self.laps), default=0)
        lines = [f"{name:<{width}}  {seconds:8.3f} s" for name, seconds in self.laps.items()]
        return "\n".join([*lines, f"{'total':<{width}}  {self.total:8.3f} s"])
