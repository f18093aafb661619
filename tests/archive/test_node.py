"""A node beside a real Orthanc: what goes in comes back once, and every odd arrival ends as it should."""

import shutil
import subprocess
import time
from collections import Counter
from io import BytesIO
from itertools import zip_longest

import httpx
import pydicom
import pytest
from hostile.test_identity import DATES, MARKERS, TEXTS

from ctp_torch.archive.journal import digest

from .conftest import ORTHANC, Node, Orthanc, free_port, patient, send, study_of, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)"),
]
RESULTS = {"rCBV": 2, "rCBF": 2, "MTT": 2, "TTP": 2, "Tmax": 2, "perfusion maps": 1, "core, penumbra": 1,
           "core, penumbra, mismatch": 1}  # fmt: skip
"""Titles of the series of one scan of two slices, and their objects: CT images, a sheet, a segmentation, a report."""


def in_order(folder):
    """The images as a scanner sends them: time by time."""
    return sorted(folder.iterdir(), key=lambda p: (pydicom.dcmread(p).AcquisitionTime, p.name))


def titles(archive, study, *, new=False):
    """What the study holds of ours: title without its foot, and objects."""
    rows = [
        (title.split(" RESEARCH")[0], n)
        for title, _, n in archive.results(study)
        if title.startswith("NEW ") == new and not title.startswith("NO ")
    ]
    return {title.removeprefix("NEW "): n for title, n in rows}, len(rows)


def plain(one):
    """One volume, no perfusion."""
    one.AcquisitionTime = one.ContentTime = "100000"


def second(one):
    """Another series of the same study, with another kernel."""
    one.SeriesInstanceUID += ".7"
    one.SOPInstanceUID += ".7"
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.ConvolutionKernel = "SHARP"
    one.SeriesNumber = 7


def marked(one):
    """Who the patient is, in every place that may name one."""
    for name in (*TEXTS, *DATES):
        setattr(one, name, MARKERS[name])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Patients A to E, and what is none."""
    home = tmp_path_factory.mktemp("scans")
    changes = {"B": marked, "E": marked}
    made = {name: patient(home / name, name, seed=i, change=changes.get(name)) for i, name in enumerate("ABCDE")}
    made["C2"] = patient(home / "C2", "C", seed=2, change=second)
    made["plain"] = patient(home / "plain", "P", frames=1, change=plain)
    return made


@pytest.fixture(scope="module")
def hospital(scans, tmp_path_factory):
    """All arrivals at once, seen to their ends."""
    home = tmp_path_factory.mktemp("hospital")
    port = free_port()
    archive = Orthanc(home / "orthanc", port)
    node = Node(
        home / "node", send=[f'kind = "orthanc"\nurl = "{archive.url}"'], port=port,
        watch=[f'kind = "orthanc"\nurl = "{archive.url}"'],
    )  # fmt: skip
    node.start()
    try:
        assert send(archive.dicom, scans["A"], aet="ORTHANC") == 0
        lacking = in_order(scans["E"])
        assert send(node.port, *lacking[:30], *lacking[31:], scans["plain"]) == 0
        late = in_order(scans["D"])
        streams = [*in_order(scans["C"]), *in_order(scans["C2"])], late[:76]
        broken = pydicom.dcmread(late[0])
        broken.SOPInstanceUID += ".9"
        del broken.StudyInstanceUID
        mixed = [one for pair in zip_longest(*streams) for one in pair if one is not None]
        assert interleaved(port, [*mixed, broken]) == {0x0000: 236, 0xC000: 1}
        first, rest = in_order(scans["B"])[:40], in_order(scans["B"])[40:]
        assert send(node.port, *first) == 0
        time.sleep(3.0)  # silence
        assert not [r for r in node.cases() if r["study"] == digest(study_of(scans["B"]))]
        assert send(node.port, *rest) == 0
        node.settled(6)
        assert send(node.port, *late[76:], scans["B"]) == 0
        node.settled(7)
        yield archive, node, scans
    finally:
        node.stop()
        archive.close()


def interleaved(port, objects):
    """All objects over one association, and the answers; once more where pynetdicom, calling, lost one under load."""
    from pynetdicom import AE

    ae = AE(ae_title="SCANNER")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
    ae.dimse_timeout = 8
    for _ in range(5):
        association = ae.associate("127.0.0.1", port, ae_title="CTPTORCH")
        answers = [association.send_c_store(one).get("Status") for one in objects if association.is_established]
        association.release()
        if None not in answers and len(answers) == len(objects):
            return Counter(answers)
    raise AssertionError("no association went through")


def states(node, scan):
    return [(r["state"], r["images"], r["replaces"]) for r in node.cases() if r["study"] == digest(study_of(scan))]


def test_both_doors_give_back_each_result_once(hospital, tmp_path):
    """storescu to the archive and to the node: everything in the same study, once, and clean."""
    archive, _, scans = hospital
    for name in "AB":
        assert titles(archive, study_of(scans[name])) == (RESULTS, 8), name
    if dciodvfy := shutil.which("dciodvfy"):
        for tags, instances in archive.series(study_of(scans["A"])):
            if "RESEARCH" not in tags.get("SeriesDescription", ""):
                continue
            path = tmp_path / f"{instances[0]}.dcm"
            path.write_bytes(archive.client.get(f"/instances/{instances[0]}/file").content)
            judged = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, check=False)
            assert "Error -" not in judged.stdout + judged.stderr, tags


def test_every_odd_arrival_ends_as_it_should(hospital):
    """Nothing is processed twice, and nothing waits for ever.

    Meant to catch: own results taken for images; completeness by silence alone.
    """
    archive, node, scans = hospital
    assert states(node, scans["A"]) == [("done", 80, None)]
    assert states(node, scans["B"]) == [("done", 80, None)]  # half, silence, the rest, and all of it again
    assert sorted(states(node, scans["C"])) == [("done", 80, None)] * 2  # a second series in the same study
    assert titles(archive, study_of(scans["C"]))[1] == 16
    late = states(node, scans["D"])
    assert [(state, n) for state, n, _ in late] == [("done", 80), ("done", 76)]
    assert titles(archive, study_of(scans["D"]), new=True) == (RESULTS, 8)
    assert states(node, scans["E"]) == [("parked", 79, None)]
    assert [title for title, _, _ in archive.results(study_of(scans["E"]))] == ["NO PERFUSION MAPS RESEARCH USE ONLY"]
    queue = node.queue
    ends = {r["name"]: r["state"] for r in wait_for(lambda: _quiet(queue), 60)}
    assert ends[digest(study_of(scans["plain"]))] == "ignored"
    assert queue.one("SELECT value FROM counts WHERE name='objects refused, broken'")["value"] == 1


def _quiet(queue):
    """All studies, when none is waiting."""
    rows = queue.rows("SELECT * FROM studies")
    return rows if all(row["look"] is None for row in rows) else None


def test_a_new_result_says_what_it_replaces(hospital):
    archive, _, scans = hospital
    for tags, instances in archive.series(study_of(scans["D"])):
        if tags.get("SeriesDescription", "").startswith("NEW rCBF"):
            told = pydicom.dcmread(BytesIO(archive.client.get(f"/instances/{instances[0]}/file").content))
            assert "replaces=an earlier answer of 76 images" in told.DerivationDescription


def test_own_results_and_other_objects_coming_in_are_no_cases(hospital):
    """The archive sends the whole study on, results too; then an MR, whose class isn't taken."""
    archive, node, scans = hospital
    before = len(node.cases())
    archive.send_to_node(study_of(scans["A"]))
    magnetic = pydicom.dcmread(next(scans["A"].iterdir()))
    magnetic.SOPClassUID = magnetic.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    magnetic.Modality = "MR"
    magnetic.SOPInstanceUID += ".4"
    magnetic.save_as(scans["A"].parent / "mr.dcm")
    assert send(node.port, scans["A"].parent / "mr.dcm") != 0
    counts = {r["name"]: r["value"] for r in node.queue.rows("SELECT * FROM counts")}
    assert counts["objects received, again"] >= 160
    assert counts["objects received, own"] >= 10
    wait_for(lambda: _quiet(node.queue), 60)
    assert len(node.cases()) == before


def test_nobody_is_named(hospital):
    """In the log, on the page, in metrics, reports and names of files: of 50 markers none, and no UID of a study."""
    _, node, scans = hospital
    base = f"http://127.0.0.1:{node.http}"
    pages = [httpx.get(f"{base}{place}").text for place in ("/", "/health", "/metrics", "/cases.json")]
    names = "\n".join(str(path.relative_to(node.folder)) for path in node.folder.rglob("*"))
    told = [node.log.read_text(), (node.folder / "stderr").read_text(), *pages, names]
    told += [path.read_text(errors="replace") for path in (node.folder / "node" / "cases").glob("*/maps/report.html")]
    assert len(told) > 10
    assert "done" in pages[0]
    assert "NO PERFUSION MAPS" not in pages[0]
    secrets = [MARKERS[name] for name in (*TEXTS, *DATES)] + [study_of(scan) for scan in scans.values()]
    assert len(secrets) > 40
    found = [(word, k) for word in secrets for k, text in enumerate(told) if word in text]
    assert not found


def test_dicomweb_in_and_three_doors_out_over_an_outage(hospital, nodes, tmp_path):
    """QIDO and WADO in; C-STORE with commitment, STOW and a folder out, while the archive is down for a while."""
    archive, _, scans = hospital
    archive.stop()
    archive.settings["DicomModalities"]["node"][2] = port = free_port()
    import json

    (archive.folder / "orthanc.json").write_text(json.dumps(archive.settings))
    archive.start()
    node = nodes(
        "second", port=port, watch=[f'kind = "dicomweb"\nurl = "{archive.url}/dicom-web"\ndays = 0'],
        send=[
            f'kind = "dicom"\naet = "ORTHANC"\nhost = "127.0.0.1"\nport = {archive.dicom}\ncommitment = true\n'
            "timeout_s = 20\nformats = ['rgb', 'pm']",
            f'kind = "stow"\nurl = "{archive.url}/dicom-web"\nformats = ["seg", "sr"]',
            f'kind = "folder"\nfolder = "{tmp_path / "out"}"\nformats = ["nifti", "rgb"]',
        ],
    )  # fmt: skip
    wait_for(node.cases, 300)
    archive.stop()
    wait_for(lambda: node.said("not delivered"), 300)
    archive.start()
    rows = node.settled(1)
    assert {row["study"] for row in rows} == {digest(study_of(scans["A"]))}
    held = Counter(modality for _, modality, _ in archive.results(study_of(scans["A"])))
    assert held == {
        "CT": 6,
        "SEG": 1,
        "SR": 1,
        "OT": 5,
    }  # parametric maps are new, the rest is as the first node made it
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name == f"{rows[0]['study']}-{rows[0]['case']}"
    assert (folder / "cbf.nii.gz").is_file()
    assert (folder / "report.html").is_file()
    assert {p.name for p in (folder / "dicom").iterdir()} == {"rgb"}
    committed = node.queue.rows("SELECT * FROM committed")
    assert len(committed) == 6
