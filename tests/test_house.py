"""The house keeps its shape: imports run one way, files stay small, public names are remembered."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ctp_torch

PACKAGE = Path(ctp_torch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LEVELS = {
    **dict.fromkeys(("errors", "interrupts", "moved"), 0),
    "data": 1,
    "ops": 2,
    "io": 3,
    **dict.fromkeys(("models", "lesions", "quality"), 4),
    **dict.fromkeys(("pipeline", "phantom"), 5),
    "learning": 6,
    "report": 7,
    **dict.fromkeys(("study", "cohorts", "archive"), 8),
    "cli": 9,
}
"""A room imports rooms of lower levels alone."""
HEAVY = {
    "kornia",
    "pytorch_msssim",
    "safetensors",
    "SimpleITK",
    "pydicom",
    "matplotlib",
    "numpy",
    "PIL",
    "gpytorch",
    "triton",
    "highdicom",
    "nibabel",
    "pynetdicom",
    "dicomweb_client",
    "httpx",
    "requests",
}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree, *, top_level):
    """(module, line) of each import; at the top level only those that run when the file is imported."""
    nodes = tree.body if top_level else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "ctp_torch":
                yield from ((f"ctp_torch.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    """Mutation seen red: importing ctp_torch.pipeline in ops."""
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in LEVELS, f"{room}: give the new room its level in this test"
    for module, line in imports_of(ast.parse(path.read_text(encoding="utf-8")), top_level=False):
        parts = module.split(".")
        if parts[0] == "ctp_torch" and len(parts) > 1 and parts[1] in LEVELS and parts[1] != room:
            assert LEVELS[parts[1]] < LEVELS[room], f"{path}:{line} imports {module} upwards"
    if room in ("ops", "models"):
        for module, line in imports_of(ast.parse(path.read_text(encoding="utf-8")), top_level=False):
            inner = module.split(".")[1] if module.startswith("ctp_torch.") else ""
            if module != "ctp_torch.io.atomic":  # which writes a model's file and knows no nouns
                assert inner not in ("io", "data"), f"{path}:{line}: tensors only"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_used(path):
    for module, line in imports_of(ast.parse(path.read_text(encoding="utf-8")), top_level=True):
        assert module.split(".")[0] not in HEAVY, f"{path}:{line} imports {module} at the top"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_small_and_quiet(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350, "split this file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            pytest.fail(f"{path}:{node.lineno} prints")


def test_names_of_the_last_release_still_import():
    """Mutation seen red: an entry of `MOVED` without its module."""
    from ctp_torch.moved import MOVED

    for old, new in MOVED.items():
        with pytest.warns(DeprecationWarning, match=f"is now ctp_torch.{new}"):
            module = importlib.import_module(f"ctp_torch.{old}")
        assert module is importlib.import_module(f"ctp_torch.{new}")


def test_public_names_are_remembered():
    """A name that disappears breaks somebody's program: take it out of public_api.json on purpose only."""
    from ctp_torch import errors, models, ops

    remembered = json.loads((Path(__file__).parent / "public_api.json").read_text(encoding="utf-8"))
    rooms = {"ctp_torch": ctp_torch.__all__, "errors": errors.__all__, "ops": vars(ops), "models": vars(models)}
    for module, names in rooms.items():
        missing = set(remembered[module]) - set(names)
        assert not missing, f"{module} lost {sorted(missing)}"


def test_the_front_door_is_light():
    code = "import sys, ctp_torch, ctp_torch.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_of_the_front_door_is_there():
    for name in ctp_torch.__all__:
        assert getattr(ctp_torch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ctp_torch.nonsense
