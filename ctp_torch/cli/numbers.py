"""Numbers on the command line: NaN and infinity, which pass every lower bound, are refused for all options alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from typer.core import TyperGroup

from ctp_torch.errors import OptionError

__all__ = ["FiniteGroup"]


class FiniteGroup(TyperGroup):
    """A group of commands whose floating-point options take finite numbers alone."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, guarded."""
        command = super().get_command(ctx, cmd_name)
        run = None if command is None else command.callback
        if run is not None and not hasattr(run, "finite"):
            command.callback = _guarded(run, {p.name: p.opts[0] for p in command.params})  # type: ignore[union-attr]
        return command


def _guarded(run: Callable[..., Any], options: dict[str, str]) -> Callable[..., Any]:
    """The command's function, refusing before it begins."""

    @wraps(run)
    def guarded(*arguments: Any, **values: Any) -> Any:
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise OptionError(f"{options.get(name, name)} {value}: give a finite number")
        return run(*arguments, **values)

    guarded.finite = True  # type: ignore[attr-defined]
    return guarded
