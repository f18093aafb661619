"""Whole cohorts run, killed and run again, against a loop of single runs: ``python tests/cohorts/campaign.py``.

Prints how many rows agree with ``ctp-torch maps`` scan by scan, and whether a run killed at random moments, parent and
processes alike, ends with the same files and tables, and leaves nothing else.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pydicom
from scenes import scan, write_scan

from ctp_torch.cohorts import find_cases
from ctp_torch.io import StudyHeader, write_ct_series, write_nifti_series
from ctp_torch.io.listing import LISTING
from ctp_torch.io.workplace import PREFIX

OPTIONS = ("--registration", "none", "--thresholds", "conventional", "--no-report", "--device", "cpu")
NUMBERS = ("core_ml", "hypoperfusion_ml", "penumbra_ml", "mismatch_ratio")


def write_world(root, n_good, *, n=48, two_series=1, others=1, broken=None):
    """Scans in folders, studies of two series, what is no perfusion, and scans broken in different ways."""
    small = {"n": n, "n_slices": 2, "frames": 30}
    for i in range(n_good):
        write_scan(root / f"good{i:03d}" / "ct", **small, seed=i, turn_deg=i % 7)
    for i in range(two_series):
        for k in range(2):
            series, _ = scan(**small, seed=500 + 2 * i + k)
            folder = root / f"two{i}"
            write_ct_series(series, folder / f"s{k}", header=StudyHeader(patient=f"two{i}", seed=(i, k)))
            for file in sorted((folder / f"s{k}").iterdir()):
                file.rename(folder / f"{k}-{file.name}")
            (folder / f"s{k}").rmdir()
    for i in range(others):
        write_scan(root / f"none{i}", n=n, n_slices=2, frames=2, seed=800 + i)
    for i, name in enumerate(BROKEN if broken is None else broken):
        home = root / f"broken-{name.replace(' ', '-')}"
        write_scan(home, **small, seed=900 + i)
        BROKEN[name](home)


def _images(folder):
    return sorted(path for path in folder.iterdir() if path.is_file())


def _edited(folder, change, every=1):
    for path in _images(folder)[::every]:
        one = pydicom.dcmread(path)
        change(one)
        one.save_as(path)


def _as_nifti(folder, damage=None, **more):
    shutil.rmtree(folder)
    series, _ = scan(n=48, n_slices=2, frames=30, **more)
    path = folder / "ctp.nii.gz"
    write_nifti_series(path, series)
    if damage is not None:
        damage(path)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _as_zip(folder):
    packed = shutil.make_archive(str(folder.with_name(folder.name + "-packed") / "scan"), "zip", folder)
    shutil.rmtree(folder)
    _cut(Path(packed))


def _airless(one):
    one.PixelData = bytes(len(one.PixelData))
    one.RescaleIntercept = "-1024"


BROKEN = {
    "cut": lambda home: [path.write_bytes(path.read_bytes()[:-500]) for path in _images(home)],
    "few images": lambda home: [path.unlink() for path in _images(home)[1::7]],
    "twice": lambda home: _edited(home, lambda one: one.update({"AcquisitionTime": "100000", "ContentTime": "100000",
                                                                "AcquisitionDateTime": "20260101100000"})),
    "no place": lambda home: _edited(home, lambda one: [one.__delattr__(n) for n in ("ImagePositionPatient",)]),
    "no spacing": lambda home: _edited(home, lambda one: one.__delattr__("PixelSpacing")),
    "air": lambda home: _edited(home, _airless),
    "other sizes": lambda home: _edited(home, lambda one: one.__setattr__("Rows", 24), every=3),
    "cut nifti": lambda home: _as_nifti(home, _cut),
    "cut zip": _as_zip,
    "no bolus": lambda home: _as_nifti(home, bolus=0.0),
}  # fmt: skip


def command(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return [sys.executable, "-m", "ctp_torch", *map(str, words)], environment


def run(*words):
    """A command's exit code, output and errors."""
    argv, environment = command(*words)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def rows_of(out):
    with (out / "cohort.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def disagreements(where, out, scratch):
    """Rows of the table that a loop of single runs doesn't give."""
    wrong = []
    for row, case in zip(rows_of(out), find_cases(where)[0], strict=True):
        series = ()
        if case.example is not None:
            series = ("--series", pydicom.dcmread(case.example, stop_before_pixels=True).SeriesInstanceUID)
        place = scratch / case.key
        code, _, errors = run("maps", case.source, "-o", place, *series, *OPTIONS)
        same = str(code) == row["exit_code"]
        if code == 0:
            lesions = place / "lesion.json"
            told = json.loads(lesions.read_text()) if lesions.is_file() else {}
            same &= all(row[name] == ("" if told.get(name) is None else str(told[name])) for name in NUMBERS)
        else:
            message = errors.strip().removeprefix("error: ")
            for path in (*sorted(case.files, key=lambda p: -len(str(p))), case.source):
                message = message.replace(str(path), "the scan")
            same &= row["message"] == message
        if not same:
            wrong.append((case.source, row, code, errors))
    return wrong


def run_and_kill(where, out, kills, *, seed=0, most_s=12.0, workers=2, least_s=2.0):
    """A run killed so many times, the parent or one of its processes, begun again each time; then to its end."""
    drawn = random.Random(seed)
    argv, environment = command("cohort", "run", where, "-o", out, *OPTIONS, "--workers", workers, "-q")
    left, process = kills, None
    while left:
        if process is None or process.poll() is not None:
            process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(drawn.uniform(least_s, most_s))
        if process.poll() is not None:  # all was done before the kill: some of it goes again
            for record in sorted(out.glob("cases/*/*.json"))[:2]:
                record.unlink()
            continue
        children = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        victim = process.pid if drawn.random() < 0.5 or not children else drawn.choice(children)
        os.kill(victim, signal.SIGKILL)
        if victim == process.pid:
            process.wait()
        left -= 1
    if process is not None:
        process.wait()
    return run("cohort", "run", where, "-o", out, *OPTIONS, "--workers", workers, "-q")[0]


def contents(out):
    """Tables and results by their SHA-256; what tells of times is left aside."""
    timed = ("times.csv", "run.json", "index.private.json", LISTING)
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and p.name not in timed]
    records = {p for p in files if p.parent.parent.name == "cases"}
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p not in records}


def leftovers(*places):
    """What no run may leave."""
    return [p for place in places for p in Path(place).rglob("*") if p.name.startswith(PREFIX)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=102)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--no-loop", action="store_true")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="cohort-campaign-"))
    os.environ["TMPDIR"] = str(root / "temporary")
    (root / "temporary").mkdir()
    write_world(root / "in", asked.good, n=64, two_series=3, others=2)
    start = time.monotonic()
    code = run("cohort", "run", root / "in", "-o", root / "whole", *OPTIONS, "-q")[0]
    rows = rows_of(root / "whole")
    failed = [row for row in rows if row["status"] == "failed"]
    print(f"{len(rows)} scans, {len(failed)} failed, exit code {code}, {time.monotonic() - start:.0f} s", flush=True)
    for row in failed:
        print(f"  ({row['exit_code']}) {row['message']}", flush=True)
    print(f"{len({row['message'] for row in failed})} different messages")
    code = run_and_kill(root / "in", root / "killed", asked.kills)
    whole, killed = contents(root / "whole"), contents(root / "killed")
    differ = sorted(name for name in whole.keys() | killed.keys() if whole.get(name) != killed.get(name))
    print(f"{asked.kills} kills, exit code {code}: {len(differ)} of {len(whole)} files differ {differ[:5]}", flush=True)
    print(f"left over: {leftovers(root)}", flush=True)
    if not asked.no_loop:
        wrong = disagreements(root / "in", root / "whole", root / "loop")
        print(f"{len(wrong)} of {len(rows)} rows differ from a loop of ctp-torch maps")
        for one in wrong[:5]:
            print(" ", one)
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
