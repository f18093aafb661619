"""A node killed at random, or measured: python tests/archive/campaign.py kills|throughput; figures as JSON.

``kills --studies 20 --kills 20``: receiver, worker and sender are killed (-9) at random moments while studies flow;
then every study must have exactly one complete result in the archive, and nothing may be left lying about.
``throughput --patients 20 --size 256``: patients of 360 images back to back, and how fast images are taken meanwhile.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import pydicom

from archive.conftest import Node, Orthanc, free_port, patient, send, study_of, wait_for
from ctp_torch.archive.receive import STATUS


def processes(node):
    """The parts of a node and their workers, by name."""
    found = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if str(node.file) in words and "--part" in words:
            found.setdefault(words[words.index("--part") + 1], []).append(int(place.name))
        elif any("multiprocessing.spawn" in word or "spawn_main" in word for word in words):
            found.setdefault("spawned", []).append((int(place.name), parent))
    desk = found.get("work", [])
    found["worker"] = [number for number, parent in found.pop("spawned", []) if parent in desk]
    return found


def complete(node, archive, study):
    """Whether a study has one case, done, and the archive each of its results once."""
    cases = node.queue.rows("SELECT id, state FROM cases WHERE study=?", study)
    if [row["state"] for row in cases] != ["done"]:
        return False
    made = node.queue.rows("SELECT sop FROM results WHERE number=?", cases[0]["id"])
    titles = [title for title, _, _ in archive.results(study)]
    held = sum(n for _, _, n in archive.results(study))
    return len(made) == held > 5 and len(titles) == len(set(titles))


def kills(home, *, studies, n_kills, seed):
    """The figures of a run with kills."""
    drawn = random.Random(seed)
    port = free_port()
    archive = Orthanc(home / "orthanc", port)
    node = Node(
        home / "node", port=port, send=[f'kind = "orthanc"\nurl = "{archive.url}"'],
        watch=[f'kind = "orthanc"\nurl = "{archive.url}"'], node="attempts = 60", deadline_s=600,
    )  # fmt: skip
    scans = [patient(home / f"s{k}", f"S{k}", n=48, frames=40, seed=k) for k in range(studies)]
    node.start()
    done, killed = threading.Event(), []

    def feed():
        for scan in scans:
            while True:
                try:
                    if send(port, scan) == 0:
                        break
                except Exception as error:  # noqa: BLE001 - a sender tries again, whatever it was
                    print("again:", type(error).__name__, flush=True)
                time.sleep(0.3)
        done.set()

    threading.Thread(target=feed, daemon=True).start()
    try:
        while len(killed) < n_kills:
            time.sleep(drawn.uniform(0.3, 4.0))
            there = processes(node)
            name = drawn.choice(["receive", "worker", "send", "work", "watch"])
            if there.get(name):
                os.kill(drawn.choice(there[name]), signal.SIGKILL)
                killed.append(name)
                print(len(killed), name, flush=True)
        wait_for(done.is_set, 1200)
        node.settled(studies)
        time.sleep(3)
        rows = node.cases()
        whole = sum(complete(node, archive, study_of(scan)) for scan in scans)
        folder = node.folder / "node"
        left = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.name.startswith(".ctp-torch-")]
        left += [str(p) for p in (folder / "arriving").rglob("*") if p.is_file()]
        lost = [r for r in node.queue.rows("SELECT file FROM images") if not (folder / r["file"]).exists()]
        images = node.queue.one("SELECT COUNT(*) AS n FROM images")["n"]
        return {
            "kills": {name: killed.count(name) for name in sorted(set(killed))},
            "studies": studies,
            "cases": {state: sum(r["state"] == state for r in rows) for state in {r["state"] for r in rows}},
            "with exactly one complete result": whole,
            "images": images, "images expected": sum(len(list(scan.iterdir())) for scan in scans),
            "rows without a file": len(lost), "leftovers": left,
        }  # fmt: skip
    finally:
        node.stop()
        archive.close()


def multiplied(folder, scans, size):
    """Patients as files, made from one rendered scan: other identifiers, the same pixels."""
    from ctp_torch.io import make_uid

    if (folder / f"p{scans - 1}").is_dir():  # of a run before
        return [folder / f"p{k}" for k in range(scans)]
    first = patient(folder / "p0", f"{folder.name}0", n=size, n_slices=6, frames=60)
    made = [first]
    for k in range(1, scans):
        place = folder / f"p{k}"
        place.mkdir()
        for path in first.iterdir():
            one = pydicom.dcmread(path)
            one.PatientID = one.PatientName = f"P{k}"
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
                setattr(one, keyword, make_uid(folder.name, k, keyword))
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = make_uid(
                folder.name, k, str(one.SOPInstanceUID)
            )
            one.save_as(place / path.name)
        made.append(place)
    return made


def throughput(home, *, patients, size):
    """Images a second with nothing else to do, and with cases running."""
    from pynetdicom import AE

    idle = multiplied(home / "idle", 3, size)
    busy = multiplied(home / "busy", patients, size)
    port = free_port()
    node = Node(home / "node", port=port, send=[f'kind = "folder"\nfolder = "{home / "out"}"\nformats = ["rgb"]'],
                deadline_s=600, nice=10)  # fmt: skip
    refused = 0

    def sent(folders):
        nonlocal refused
        began, n = time.perf_counter(), 0
        for folder in folders:
            ae = AE(ae_title="SCANNER")
            ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
            association = ae.associate("127.0.0.1", port, ae_title="CTPTORCH")
            if not association.is_established:
                refused += 1
                continue
            for path in sorted(folder.iterdir()):
                if not association.is_established:
                    refused += 1
                    continue
                refused += association.send_c_store(path).get("Status") != STATUS["stored"]
                n += 1
            association.release()
        return n / (time.perf_counter() - began)

    node.start()
    try:
        rates = []
        for folder in idle:  # no case runs: each is parked before it begins
            rates.append(sent([folder]))
            queue = node.queue
            with queue.change() as db:
                db.execute("UPDATE studies SET look=NULL")
        wait_for(lambda: not node.cases("running", "complete"), 600)
        began = time.time()
        loaded = sent(busy)
        print("idle", rates, "busy", loaded, "cases", [row["state"] for row in node.cases()], flush=True)
        arrived = time.time() - began
        node.settled(patients)
        rows = node.cases("done")
        return {
            "patients": patients, "size": size, "idle images/s": [round(r, 1) for r in rates],
            "busy images/s": round(loaded, 1), "share": round(loaded / sorted(rates)[len(rates) // 2], 3),
            "refused": refused, "all arrived after s": round(arrived), "all done after s": round(time.time() - began),
            "done": len(rows), "case s": sorted(r["seconds"] for r in rows)[len(rows) // 2],
            "load": os.getloadavg()[0],
        }  # fmt: skip
    finally:
        node.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "throughput"))
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--home", type=Path, default=None)
    chosen = parser.parse_args()
    place = chosen.home or Path(tempfile.mkdtemp())
    place.mkdir(exist_ok=True)
    if chosen.what == "kills":
        figures = kills(place, studies=chosen.studies, n_kills=chosen.kills, seed=chosen.seed)
    else:
        figures = throughput(place, patients=chosen.patients, size=chosen.size)
    print(json.dumps(figures, indent=1))
