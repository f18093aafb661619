"""A node and a real Orthanc, each on ports of its own on this machine, gone when the test is."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from scenes import write_scan

from ctp_torch.io import make_uid

ORTHANC = shutil.which("Orthanc")
STORESCU = "/usr/bin/storescu"
"""dcmtk's; pynetdicom brings one of its own."""
WEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SMALL = {"n": 64, "n_slices": 2, "frames": 40, "dt": 1.0}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, seconds=60.0, step=0.1):
    """The first true answer of ``what``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(step)
    raise AssertionError(f"not within {seconds} s: {getattr(what, '__name__', what)}")


class Orthanc:
    """An archive."""

    def __init__(self, folder, node_port=0, **more):
        import httpx

        self.folder, self.http, self.dicom = folder, free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        folder.mkdir(exist_ok=True)
        self.settings = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "HttpPort": self.http, "DicomPort": self.dicom,
            "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "StableAge": 1,
            "DicomModalities": {"node": ["CTPTORCH", "127.0.0.1", node_port]}, "DicomAlwaysAllowStore": True,
            "Plugins": [str(WEB)] if WEB.exists() else [], "ConcurrentJobs": 2, "HttpThreadsCount": 8, **more,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(self.settings))
        self.client = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)
        self.process = None
        self.start()

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([ORTHANC, str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        wait_for(self.up, 120)

    def up(self):
        import httpx

        try:
            return self.client.get("/system").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        self.stop()
        self.client.close()

    def series(self, study):
        """Modality, title and SOP instances of every series of a study."""
        found = self.client.post("/tools/lookup", content=study).json()
        places = [one["ID"] for one in found if one["Type"] == "Study"]
        if not places:
            return []
        told = self.client.get(f"/studies/{places[0]}/series").json()
        return [(one["MainDicomTags"], one["Instances"]) for one in told]

    def results(self, study):
        """The series that the node made, by title; a title twice is two entries."""
        return sorted(
            (tags.get("SeriesDescription", ""), tags["Modality"], len(instances))
            for tags, instances in self.series(study)
            if tags.get("Manufacturer") == "ctp_torch" and "RESEARCH" in tags.get("SeriesDescription", "")
        )

    def send_to_node(self, study):
        """C-STORE of a study to the node, by Orthanc."""
        place = self.client.post("/tools/lookup", content=study).json()[0]["ID"]
        return self.client.post(
            "/modalities/node/store", json={"Resources": [place], "Synchronous": True, "Permissive": True}
        )


class Node:
    """A node that runs in processes of its own."""

    def __init__(
        self,
        folder,
        *,
        send=(),
        watch=(),
        node="",
        dicom="",
        page="",
        maps="",
        port=None,
        env=None,
        deadline_s=15,
        nice=0,
    ):
        self.folder, self.port, self.http = folder, port or free_port(), free_port()
        folder.mkdir(exist_ok=True)
        parts = [
            f'[node]\nfolder = "node"\nquiet_s = 0.5\nsettle_s = 1.5\ndeadline_s = {deadline_s}\nthreads = 1',
            f"nice = {nice}",
            node,
            f'[maps]\nregistration = "none"\n{maps}',
            f'[dicom]\naet = "CTPTORCH"\nport = {self.port}\n{dicom}',
            f"[page]\nport = {self.http}\n{page}",
            *(f"[[watch]]\nevery_s = 0.3\n{one}" for one in watch),
            *(f"[[send]]\n{one}" for one in send),
        ]
        self.file, self.log = folder / "node.toml", folder / "log.jsonl"
        self.file.write_text("\n\n".join(parts).replace("[node]\n", f'[node]\nlog = "{self.log}"\n', 1))
        self.env, self.process = env, None

    def start(self, wait=True):
        command = [sys.executable, "-m", "ctp_torch", "node", "run", str(self.file)]
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(command, stderr=errors, stdout=errors, env=self.env)
        if wait:
            wait_for(self.listens, 300)
        return self

    def listens(self):
        with socket.socket() as one:
            one.settimeout(1.0)
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def queue(self):
        from ctp_torch.archive import Queue

        return Queue(self.folder / "node")

    def cases(self, *states):
        from ctp_torch.archive.status import case_rows

        queue = self.queue
        rows = case_rows(queue)
        queue.close()
        return [row for row in rows if not states or row["state"] in states]

    def settled(self, n):
        """The cases, once there are so many and all are at an end, their deliveries too."""

        def ended():
            rows = self.cases()
            over = all(
                r["state"] in ("done", "parked", "replaced") and all(d["state"] == "sent" for d in r["deliveries"])
                for r in rows
            )
            return rows if len(rows) >= n and over else None

        return wait_for(ended, 600)

    def said(self, event):
        """Lines of the log about an event."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [one for one in map(json.loads, lines) if one["event"] == event]


def send(port, *paths, aet="CTPTORCH", calling="SCANNER", options=()):
    """storescu of files or folders; its exit status."""
    files = [one for path in paths for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    if not Path(STORESCU).exists():
        pytest.skip("dcmtk is not installed")
    command = [STORESCU, "-aet", calling, "-aec", aet, *options, "127.0.0.1", str(port)]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode


def study_of(folder):
    return str(pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).StudyInstanceUID)


def patient(folder, name, *, change=None, **options):
    """A small perfusion scan of a patient of that name, each a study of its own."""
    write_scan(folder, **{**SMALL, **options})
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.PatientID = one.PatientName = name
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(one, keyword, make_uid(name, keyword))
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = make_uid(name, str(one.SOPInstanceUID))
        if change is not None:
            change(one)
        one.save_as(path)
    return folder


@pytest.fixture
def orthanc(tmp_path):
    if ORTHANC is None:
        pytest.skip("Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)")
    one = Orthanc(tmp_path / "orthanc", free_port())
    yield one
    one.close()


@pytest.fixture
def nodes(tmp_path):
    """Makes nodes, and ends them."""
    made = []

    def make(name="node", **options):
        one = Node(tmp_path / name, **options)
        made.append(one)
        return one.start()

    yield make
    for one in made:
        one.stop()
