"""How every benchmark measures: interleaved repeats, median and spread, peak memory in a child, machine in the JSON."""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "kornia", "gpytorch", "SimpleITK", "ctp-torch")


def machine(device="cpu"):
    """What the figures were measured on: processor, cores, memory, device; no host name, no path."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions(),
    }


def versions():
    """Installed versions of the packages that benchmarks compare."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def interleaved(contenders, *, repeats=3, warm_up=True, device="cpu"):
    """Seconds of each contender (name to function without arguments), measured in turn so that noise hits all alike."""
    if warm_up:
        for run in contenders.values():
            run()
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            synchronise(device)
            start = time.perf_counter()
            run()
            synchronise(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: summary(times) for name, times in seconds.items()}


def synchronise(device):
    """Wait for a GPU; nothing on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def timed(run, device="cpu"):
    """What a function gives back, and the seconds it took."""
    synchronise(device)
    start = time.perf_counter()
    result = run()
    synchronise(device)
    return result, time.perf_counter() - start


def summary(times):
    """Median and interquartile range of repeated seconds."""
    quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
    return {"median_s": statistics.median(times), "iqr_s": quartiles[2] - quartiles[0], "repeats": len(times)}


def in_child(function, *args, timeout_s=600.0):
    """What a top-level function gives back from a process of its own, with what it took.

    Seconds, processor seconds of all its threads, and peak memory; a crash or a time-out is an answer too:
    {"failed": why}.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(there, function, args))
    child.start()
    there.close()
    answer = None
    try:
        if here.poll(timeout_s):
            answer = here.recv()
    except EOFError:
        pass
    if answer is None:
        timed_out = child.is_alive()
        child.kill()
        child.join()
        return {"failed": f"over {timeout_s:.0f} s" if timed_out else f"crashed with exit code {child.exitcode}"}
    child.join()
    return answer


def _answer(pipe, function, args):
    """Run in the child: result, seconds, and peak memory above what it had before."""
    before = _peak_kb()
    start, cpu_start = time.perf_counter(), time.process_time()
    result = function(*args)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = 1024 * (_peak_kb() - before)
    pipe.send({"result": result, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak})


def _peak_kb():
    """Peak memory of this process; getrusage's begins with that of the process it was made from, on Linux."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text(encoding="utf-8").splitlines() if "VmHWM" in line)


def write(name, results, *, device="cpu"):
    """Write results/NAME.json with the machine beside the figures (a dict, or a list of rows); returns the path."""
    RESULTS.mkdir(exist_ok=True)
    figures = results if isinstance(results, dict) else {"rows": results}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(device), **figures}, indent=2) + "\n")
    return path


def patients_of(texts):
    """Seeds and indices of SEED:FIRST-LAST."""
    listed = []
    for text in texts:
        seed, _, rest = text.partition(":")
        first, _, last = rest.partition("-")
        listed += [(int(seed), index) for index in range(int(first), int(last or first) + 1)]
    return listed
