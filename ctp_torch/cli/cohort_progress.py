"""How far a cohort run is: one living line on a terminal, a line a scan elsewhere, JSON where that was asked for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ctp_torch.cli import console

if TYPE_CHECKING:
    from ctp_torch.pipeline.worker import Outcome

__all__ = ["told"]


class _Count:
    """What came of the scans so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.running: set[str] = set()
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._start = time.monotonic()

    def words(self) -> str:
        """Done, failed, running, rate and time left."""
        left = self.total - len(self.done)
        rate = len(self.done) / max(time.monotonic() - self._start, 1e-9)
        pace = f", {60 * rate:.1f} a minute, {_span(left / rate)} left" if self.done else ""
        running = len(self.running - self.done)
        return f"{len(self.done)} of {self.total} done, {len(self.failed)} failed, {running} running{pace}"


def _span(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def told(total: int) -> Iterator[Callable[[str, str, Outcome | None], None]]:
    """What a cohort run is to call, for as long as the block runs.

    Parameters
    ----------
    total
        scans
    """
    count, lock = _Count(total), threading.Lock()
    if console.settings.quiet:
        yield lambda case, variant, outcome: None
        return
    living = sys.stderr.isatty() and not console.settings.log_json

    def tell(case: str, variant: str, outcome: Outcome | None, line: Callable[[str], None]) -> None:
        with lock:
            if outcome is None:
                count.running.add(case)
                return
            count.done.add(case)
            if outcome.exit_code:
                count.failed.add(case)
                line(f"{case}  {variant}  failed ({outcome.exit_code}): {outcome.message}")
            elif not living:
                line(f"{count.words()}: {case}  {variant}  {outcome.seconds:.1f} s")

    if not living:
        yield lambda case, variant, outcome: tell(case, variant, outcome, console.tell)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(get_renderable=lambda: Text(count.words()), console=Console(stderr=True), transient=True) as live:
        yield lambda case, variant, outcome: tell(
            case, variant, outcome, lambda text: live.console.print(Text(console.escaped(text), style="red"))
        )
