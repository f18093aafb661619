"""All pages that come from the program and from committed results, but for the examples, which take minutes.

python docs/generate/pages.py
"""

import shutil

import accuracy
import commands
from results import DOCS, RESULTS

import benchmarks

if __name__ == "__main__":
    shutil.copy(RESULTS / "kernel_growth.png", DOCS / "pictures" / "kernel_growth.png")
    for page, text in (("reference/commands", commands.text()), ("accuracy", accuracy.text()),
                       ("benchmarks", benchmarks.text())):  # fmt: skip
        (DOCS / f"{page}.md").write_text(text, encoding="utf-8")
