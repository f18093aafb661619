"""``cohort run`` against a shell loop of ``ctp-torch maps``: ``python benchmarks/cohort_throughput.py --size 128``.

Wants a machine with nothing else to do. Prints seconds of both, the ratio, and the most memory that all processes of
the cohort run held at once, beside its budget.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ctp_torch.io import StudyHeader, write_ct_series
from ctp_torch.phantom.patient import render_patient

PROGRAM = (sys.executable, "-m", "ctp_torch")
OPTIONS = ("--device", "cpu", "--no-report")
PAGE = 4096


def resident(pid):
    """Bytes that a process and its children hold."""
    try:
        held = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended just now
        return 0
    return held + sum(resident(int(child)) for child in children)


def watched(argv):
    """Seconds that a command takes, and the most memory that it held."""
    start, most = time.perf_counter(), 0
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = threading.Event()

    def look():
        nonlocal most
        while not done.wait(0.1):
            most = max(most, resident(process.pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(map(str, argv))} ended with {code}")
    return time.perf_counter() - start, most


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--memory-gb", type=float, default=8.0)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for i in range(asked.patients):
            patient = render_patient(asked.seed, i, size=asked.size)
            write_ct_series(patient.series, root / "in" / f"p{i:02d}", header=StudyHeader(seed=i))
        loop = 0.0
        for folder in sorted((root / "in").iterdir()):
            loop += watched([*PROGRAM, "maps", folder, "-o", root / "loop" / folder.name, *OPTIONS])[0]
        argv = [*PROGRAM, "cohort", "run", root / "in", "-o", root / "out", *OPTIONS]
        cohort, most = watched([*argv, "--memory-gb", str(asked.memory_gb)])
    told = {"size": asked.size, "patients": asked.patients, "loop_s": round(loop, 1), "cohort_s": round(cohort, 1),
            "ratio": round(loop / cohort, 2), "most_gb": round(most / 1e9, 2),
            "budget_gb": asked.memory_gb}  # fmt: skip
    print(json.dumps(told))
    if asked.output:
        asked.output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
