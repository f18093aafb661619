"""The package's C loops as a library, built by the machine's own compiler the first time they are wanted."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

__all__ = ["fused_library"]

_SOURCE = Path(__file__).with_name("fused.c")
_INCLUDED = tuple(_SOURCE.with_name(name) for name in ("fused_kernel.h", "fused_products.h"))
_OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC", "-w")
_PATIENCE_S = 60.0

_P, _N = ctypes.c_void_p, ctypes.c_long
_BLOCK = (_P, _N, _P, _N, _N)  # x, its rows; z, its rows; their columns
_PRODUCTS = (*_BLOCK, _P, _P, _N, _P, _P, _N, _N, _P)
_ARGUMENTS = {
    "products_growth": _PRODUCTS,
    "products_float": _PRODUCTS,
    "products_double": _PRODUCTS,
    "kernel_float": (*_BLOCK, _P, _N, _P),
    "kernel_double": (*_BLOCK, _P, _N, _P),
    "memory_float": (_N, _N),
    "memory_double": (_N, _N),
    "tile_products": (_P, _N, _N, _P, _P, _P, _P, _N, _N),
}
"""Of the functions in fused.c; those of memory return a number."""


def fused_library(device: torch.device) -> ctypes.CDLL | None:
    """The functions of ``fused.c`` for tensors on the processor; None on other devices, and without a compiler.

    The compiler is ``$CC`` or ``cc``. The library is kept in ``$XDG_CACHE_HOME`` (``~/.cache``), under a name that
    changes with the source, the compiler and the processor it builds for; where that can't be written, it is built
    anew in each process.

    Parameters
    ----------
    device
        where the tensors are
    """
    return _library() if device.type == "cpu" else None


@cache
def _library() -> ctypes.CDLL | None:
    """The library, or None where no compiler is found or it fails: torch does the same, slower."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        return None
    try:
        return _kept(compiler)
    except (OSError, subprocess.SubprocessError):
        return None


def _kept(compiler: list[str]) -> ctypes.CDLL:
    """The library from the cache, put there if need be."""
    program = Path(shutil.which(compiler[0]) or compiler[0]).resolve()
    facts = [*compiler, *_OPTIONS, str(program), str(program.stat().st_mtime_ns), platform.machine(), _processor()]
    source = b"".join(path.read_bytes() for path in (_SOURCE, *_INCLUDED))
    name = hashlib.sha256(source + "\0".join(facts).encode()).hexdigest()[:32]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = cache_home / "ctp_torch" / f"fused-{name}.so"
    if library.is_file():
        return _loaded(library)
    try:
        library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = library.parent if os.access(library.parent, os.W_OK) else None
    except OSError:
        folder = None
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        built = Path(temporary) / library.name
        command = [*compiler, *_OPTIONS, str(_SOURCE), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE_S)
        if folder is not None:
            built = built.replace(library)  # whole or not at all, whoever else builds it too
        return _loaded(built)


def _processor() -> str:
    """What tells processors apart that one home may be shared by: name and abilities of the first core."""
    listed = Path("/proc/cpuinfo")
    if not listed.is_file():
        return platform.processor()
    lines = listed.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model", "vendor", "flags", "CPU", "Features")))


def _loaded(path: Path) -> ctypes.CDLL:
    """The library with the signatures of its functions; calls let other Python threads run."""
    library = ctypes.CDLL(str(path))
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, _N if name.startswith("memory") else None
    return library
