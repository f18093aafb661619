"""Help that reads as it is written, and the switches of every command taken wherever they stand."""

from __future__ import annotations

from typing import Any

from ctp_torch.cli.numbers import FiniteGroup

__all__ = ["CommandGroup"]

_SWITCHES = ("-q", "--quiet", "-v", "--verbose", "--debug", "--log-json")
"""Of the program itself; no command has options of these names, and none takes a value that begins with a dash."""


class CommandGroup(FiniteGroup):
    """A group whose commands and options have plain help texts; the group's own text may hold Rich markup."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, its help as it is written."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not isinstance(command, CommandGroup):
            _write_plain(command)
            for parameter in command.get_params(ctx):
                _write_plain(parameter)
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """The arguments, with the program's own switches moved to where it looks for them."""
        if ctx.parent is None:
            end = args.index("--") if "--" in args else len(args)
            switches = [one for one in args[:end] if one in _SWITCHES]
            args = [*switches, *(one for one in args[:end] if one not in _SWITCHES), *args[end:]]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> Any:
        """The options of the group itself, their help as it is written."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            _write_plain(parameter)
        return parameters


def _write_plain(item: Any) -> None:
    """Escape the help of a command or an option, once; a switch shows no type, for it takes no value."""
    if hasattr(item, "plain_help"):
        return
    from rich.markup import escape

    item.plain_help = item.help  # of an escaped text, escape() would double the backslashes
    if item.help:
        item.help = escape(item.help)
    if getattr(item, "is_flag", False):
        item.metavar = ""
