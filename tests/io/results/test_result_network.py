"""Results sent by one dcmtk program and received by another: every object arrives unchanged."""

import os
import shutil
import socket
import subprocess
import time

import pytest
from oracles.derived import made_maps, made_scan
from pydicom import dcmread

from ctp_torch import write_maps
from ctp_torch.io.results.write_maps import FORMATS


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# pynetdicom brings commands of the same names, which an environment puts first
SYSTEM = os.pathsep.join(("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"))
STORESCU, STORESCP = (shutil.which(name, path=SYSTEM) for name in ("storescu", "storescp"))


@pytest.mark.slow
@pytest.mark.skipif(not (STORESCU and STORESCP), reason="dcmtk is not installed")
def test_every_object_arrives_unchanged(tmp_path):
    """All elements of all objects, pixels included, compared one by one."""
    made_scan(tmp_path / "ct")
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    dicom = tuple(name for name in FORMATS if name != "nifti")
    paths = write_maps(maps, tmp_path / "out", formats=dicom, source=tmp_path / "ct", lesions=lesions)
    (tmp_path / "in").mkdir()
    port = free_port()
    receiver = subprocess.Popen(
        [STORESCP, "--promiscuous", "--output-directory", str(tmp_path / "in"), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "storescp doesn't listen"
                time.sleep(0.05)
        sent = subprocess.run(
            [
                STORESCU,
                "--required",
                "--scan-directories",
                "--recurse",
                "127.0.0.1",
                str(port),
                str(tmp_path / "out" / "dicom"),
            ],
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
    finally:
        receiver.terminate()
        receiver.wait(timeout=10)
    assert sent.returncode == 0, sent.stderr
    arrived = {d.SOPInstanceUID: d for d in map(dcmread, (tmp_path / "in").iterdir())}
    assert len(arrived) == len(paths)
    for path in paths:
        ours = dcmread(path)
        assert arrived[ours.SOPInstanceUID] == ours, path.name
