"""The package's C loops as a library, built by the machine's own compiler the first time they are wanted."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["fused_library", "library_state"]

_OPS = Path(__file__).parents[1]
_SOURCES = (_OPS / "kernel" / "fused.c", _OPS / "image" / "windows.c", _OPS / "deconvolution" / "posterior.c")
_INCLUDED = tuple(_OPS / name for name in ("compute/vectors.h", "kernel/fused_kernel.h", "kernel/fused_products.h"))
_OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC", "-w")
_PATIENCE_S = 60.0
_OFF = ("0", "no", "off", "false")
_DIGITS = 32  # of a hash in a file's name

_P, _N = ctypes.c_void_p, ctypes.c_long
_BLOCK = (_P, _N, _P, _N, _N)  # x, its rows; z, its rows; their columns
_PRODUCTS = (*_BLOCK, _P, _P, _N, _P, _P, _N, _N, _P)
_MEDIAN = (_P, _N, _N, _N, _P, _P)  # images, their number and size; medians; memory
_GAUSSIAN = (_P, _N, _N, _N, _P, _N, _P, _N, _P, _P)
_SIMILARITY = (_P, _P, _P, _N, _N, _N, _P, _P, _P, _P)
_ARGUMENTS = {
    "products_growth": _PRODUCTS,
    "products_float": _PRODUCTS,
    "products_double": _PRODUCTS,
    "kernel_float": (*_BLOCK, _P, _N, _P),
    "kernel_double": (*_BLOCK, _P, _N, _P),
    "memory_float": (_N, _N),
    "memory_double": (_N, _N),
    "tile_products": (_P, _N, _N, _P, _P, _P, _P, _N, _N),
    "median_float": _MEDIAN,
    "median_double": _MEDIAN,
    "median_int16": _MEDIAN,
    "median_uint8": _MEDIAN,
    "gaussian_float": _GAUSSIAN,
    "gaussian_double": _GAUSSIAN,
    "similarity_float": _SIMILARITY,
    "similarity_double": _SIMILARITY,
    "posterior_means": (_P, _N, _N, _P, _P, _P, _P, _P),
}
"""Of the functions in those files; those of memory return a number."""

_TRIAL = """
import ctypes, sys
library, exponents = ctypes.CDLL(sys.argv[1]), (-0.25, -7.75, -31.0)
for name, real, error in (("float", ctypes.c_float, 1e-6), ("double", ctypes.c_double, 1e-14)):
    memory, kernel = getattr(library, "memory_" + name), getattr(library, "kernel_" + name)
    memory.argtypes, memory.restype, kernel.restype = (ctypes.c_long, ctypes.c_long), ctypes.c_long, None
    n, x, z, out = ctypes.c_long, (real * 3)(*exponents), (real * 1)(1.0), (real * 3)()
    kernel(x, n(3), z, n(1), n(1), out, n(1), (real * memory(1, 0))())
    if not all(abs(power / 2.0**exponent - 1.0) < error for power, exponent in zip(out, exponents)):
        sys.exit("the compiled loops give wrong numbers: " + str(list(out)))
n, images, out = ctypes.c_long, (ctypes.c_float * 9)(8, 1, 6, 3, 5, 7, 4, 9, 2), (ctypes.c_float * 9)()
library.median_float(images, n(1), n(3), n(3), out, (ctypes.c_float * 15)())
if list(out) != [5, 6, 6, 4, 5, 6, 4, 4, 5]:
    sys.exit("the compiled median gives wrong numbers: " + str(list(out)))
"""
"""Run by a process of its own before a new library is loaded: a bad one takes that process along, not ours."""


def fused_library(device: torch.device) -> ctypes.CDLL | None:
    """The compiled functions for tensors on the processor; None on other devices, and without a compiler.

    The compiler is ``$CC`` or ``cc``; ``CTP_TORCH_COMPILED=0`` does without. The library is kept in ``$XDG_CACHE_HOME``
    (``~/.cache``), under a name that changes with the source, the compiler and the processor it builds for, and ends in
    the hash of its content. It is loaded only if that is so, and if nobody but this user may write it or put another in
    its place; elsewhere it is built anew in each process.

    Parameters
    ----------
    device
        where the tensors are
    """
    return _library() if device.type == "cpu" else None


def library_state() -> str:
    """Whether the compiled loops are at hand, where they are kept, and if not why: a line for ``ctp-torch doctor``."""
    return _library_and_state()[1]


def _library() -> ctypes.CDLL | None:
    """The library, or None where it is not wanted or can't be built: torch does the same, slower."""
    return _library_and_state()[0]


@cache
def _library_and_state() -> tuple[ctypes.CDLL | None, str]:
    """The library, and what there is to say about it."""
    if os.environ.get("CTP_TORCH_COMPILED", "1").strip().lower() in _OFF:
        return None, "no: switched off by CTP_TORCH_COMPILED"
    if os.name != "posix":
        return None, "no: built only where files have an owner and a mode (Linux, macOS)"
    if sys.platform == "win32":
        return None, "no: not built on Windows, where whose a folder is can't be told so"
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))
    except ValueError as error:
        return None, f"no: CC can't be read ({error})"
    if not compiler or shutil.which(compiler[0]) is None:
        return None, "no: with a C compiler (cc, or the one $CC names) kernel ridge is faster on the CPU"
    try:
        return _kept_or_built(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"no: {' '.join(compiler)} builds no library to be trusted ({error})"


def _kept_or_built(compiler: list[str]) -> tuple[ctypes.CDLL, str]:
    """The library from the cache, put there if need be; where that isn't ours alone, one for this process."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "ctp_torch"
        _make_private(folder)
        return _loaded(_kept(folder, compiler)), f"yes, kept in {folder}"
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        reason = str(error)
    with tempfile.TemporaryDirectory() as temporary:
        return _loaded(_build(Path(temporary), compiler)), f"yes, but built anew by each process ({reason})"


def _make_private(folder: Path) -> None:
    """Make the folder; an OSError where another user could write to it, or put another folder in its place.

    A home under another name is another's too (root by ``sudo``): what was left there must not run as us.
    """
    for parent in reversed(folder.parents):
        parent.mkdir(mode=0o700, exist_ok=True)
        status = parent.stat()
        shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
        if shared or status.st_uid not in (0, os.geteuid()):
            raise PermissionError(f"another user may write to {parent}")
        if status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IXGRP | stat.S_IXOTH):
            break  # nobody else comes any deeper
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder, stat.S_IFDIR):
        raise PermissionError(f"{folder} is not a folder that this user alone may write to")


def _is_private(path: Path, kind: int) -> bool:
    """Whether a path is itself of this kind, this user's, and no one else's to write."""
    status = path.lstat()
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_IFMT(status.st_mode) == kind and status.st_uid == os.geteuid() and not others


def _kept(folder: Path, compiler: list[str]) -> Path:
    """The sound library of this source, compiler and processor; the first process builds it, the others wait."""
    from filelock import FileLock

    name = f"fused-{_facts(compiler)}"
    with FileLock(folder / f"{name}.lock", timeout=_PATIENCE_S, mode=0o600):
        for kept in folder.glob(f"{name}-*.so"):
            if _is_private(kept, stat.S_IFREG) and kept.stem == f"{name}-{_content(kept)}":
                return kept
        for left in folder.glob(f"{name}-building-*"):  # by a process that ended early
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}-building-") as temporary:
            built = _build(Path(temporary), compiler)
            return built.replace(folder / f"{name}-{_content(built)}.so")  # whole or not at all


def _facts(compiler: list[str]) -> str:
    """Hash of what a library depends on: source, options, the programs of the command, the processor."""
    programs = [Path(executable).resolve() for word in compiler if (executable := shutil.which(word)) is not None]
    stamps = [f"{program} {program.stat().st_mtime_ns} {program.stat().st_size}" for program in programs]
    source = b"".join(path.read_bytes() for path in (*_SOURCES, *_INCLUDED))
    facts = "\0".join((*compiler, *_OPTIONS, *stamps, platform.machine(), _processor()))
    return hashlib.sha256(source + facts.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def _content(path: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]


def _processor() -> str:
    """What tells processors apart that one home may be shared by: name and abilities of the first core."""
    listed = Path("/proc/cpuinfo")
    if not listed.is_file():
        return platform.processor()
    lines = listed.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model", "vendor", "flags", "CPU", "Features")))


def _build(folder: Path, compiler: list[str]) -> Path:
    """A new library in an empty folder, which has stood its trial."""
    built = folder / "fused.so"
    _run([*compiler, *_OPTIONS, *map(str, _SOURCES), "-o", str(built)], folder)
    built.chmod(0o600)
    _run([sys.executable, "-I", "-c", _TRIAL, str(built)], folder)
    return built


def _run(command: list[str], folder: Path) -> None:
    """Run a program in a process group of its own, which ends with it; what it says ends up in the error."""
    log = folder / "messages"
    with log.open("wb") as messages:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=messages, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            code = process.wait(_PATIENCE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        raise subprocess.SubprocessError(f"exit status {code} {next(filter(None, lines), '')[:160]}".strip())


def _loaded(path: Path) -> ctypes.CDLL:
    """The library with the signatures of its functions; calls let other Python threads run."""
    library = ctypes.CDLL(str(path))
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, _N if name.startswith("memory") else None
    return library
