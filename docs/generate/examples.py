"""``docs/examples``: each script of ``examples/`` run, with what it prints and draws.

python docs/generate/examples.py [NAME ...]
"""

import contextlib
import io
import re
import sys
import warnings

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from results import DOCS

SCRIPTS = DOCS.parent / "examples"


def cells(text):
    """(kind, text) of every cell."""
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip("\n").split("\n")]
            yield "markdown", "\n".join(lines).strip()
        elif body.strip():
            yield "code", body.strip("\n")


def render(script):
    """The page of one script."""
    namespace, parts, pictures = {"__name__": "__main__"}, [], 0
    for kind, text in cells(script.read_text(encoding="utf-8")):
        if kind == "markdown":
            parts.append(text)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, str(script), "exec"), namespace)
        parts.append(f"```python\n{text}\n```")
        if said := printed.getvalue().strip():
            parts.append(f"```text\n{said}\n```")
        for number in plt.get_fignums():
            name = f"{script.stem}_{(pictures := pictures + 1)}.png"
            plt.figure(number).savefig(DOCS / "examples" / name, dpi=60, bbox_inches="tight")
            parts.append(f"![What the lines above draw]({name})")
        plt.close("all")
    source = f"*Rendered by `docs/generate/examples.py` from `examples/{script.name}`, on digital data, on a CPU.*"
    (DOCS / "examples" / f"{script.stem}.md").write_text("\n\n".join([*parts, source]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    (DOCS / "examples").mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or sorted(path.stem for path in SCRIPTS.glob("*.py"))
    sys.argv = sys.argv[:1]
    for name in names:
        render(SCRIPTS / f"{name}.py")
