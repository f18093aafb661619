"""``docs/reference/commands.md`` from the command line itself.

python docs/generate/commands.py
"""

import re
from pathlib import Path

import typer

from ctp_torch.cli import app

PAGE = Path(__file__).parents[1] / "reference" / "commands.md"

TOP = """# Commands

Written by `docs/generate/commands.py` from the program; `ctp-torch COMMAND --help` says the same.

`-q`, `-v`, `--debug` and `--log-json` may stand anywhere in a line. Names of methods, models, maps and formats are
taken in any case, with hyphens or underscores. `ctp-torch --install-completion` completes commands and options in your
shell. Exit codes: [files and codes](files.md#exit-codes).
"""


def leaves(group, words=()):
    """Every command with its words, groups left out."""
    with typer.Context(group, info_name="ctp-torch") as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if hasattr(command, "commands"):
                yield from leaves(command, (*words, name))
            else:
                yield (*words, name), command


def text_of(item):
    """Help as it was written."""
    return re.sub(r"\[/?bold\]", "", getattr(item, "plain_help", item.help) or "")


def cell(text):
    """Text that stands in one cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def section(words, command):
    """One command: what it does, examples, arguments and options."""
    lines = [f"## {' '.join(words)}", ""]
    examples = []
    for paragraph in text_of(command).split("\n\n"):
        plain = " ".join(paragraph.split())
        if plain.startswith("Example: "):
            examples.append(plain.removeprefix("Example: "))
        elif plain:
            lines += [plain, ""]
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    usage = " ".join(f"{p.metavar or p.name.upper()}{'...' if p.nargs == -1 else ''}" for p in arguments)
    examples = examples or [f"ctp-torch {' '.join(words)} {usage}"]
    lines += ["```text", *examples, "```", "", "| argument or option | default | meaning |", "|---|---|---|"]
    for p in command.params:
        if p.name == "help":
            continue
        is_option = p.opts[0].startswith("-")
        names = (
            ", ".join(f"`{n}`" for n in [*p.opts, *p.secondary_opts])
            if is_option
            else f"`{p.metavar or p.name.upper()}`"
        )
        flag = getattr(p, "is_flag", False)
        if not is_option or (p.required and p.default is None):
            default = "needed" if p.required else ""
        elif p.default in (None, (), []):
            default = ""
        elif flag:
            default = f"`{(p.opts if p.default else p.secondary_opts or [''])[0]}`" if p.secondary_opts else ""
        else:
            default = f"`{p.default}`"
        lines.append(f"| {names} | {cell(default)} | {cell(text_of(p))} |")
    return [*lines, ""]


def text():
    """The whole page."""
    lines = [TOP]
    for words, command in leaves(typer.main.get_command(app)):
        lines += section(words, command)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text(), encoding="utf-8")
