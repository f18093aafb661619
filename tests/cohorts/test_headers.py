"""Headers read straight from bytes: what pydicom says, or nothing."""

import shutil

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from scenes import write_scan

from ctp_torch.cohorts.headers import _TAGS, _header, _parsed, list_files, read_headers
from ctp_torch.cohorts.plain import plain_elements


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    write_scan(folder / "scan", n=48, n_slices=1, frames=30)
    return sorted((folder / "scan").iterdir())[0]


def changed(image, path, change, syntax=None):
    one = pydicom.dcmread(image)
    change(one)
    if syntax is not None:
        one.file_meta.TransferSyntaxUID = syntax
    one.save_as(path, enforce_file_format=True)
    return path


def nested(one, *, undefined=False):
    inner = Dataset()
    inner.PatientID, inner.Modality = "somebody else", "MR"
    one.ReferencedStudySequence = Sequence([inner])
    one["ReferencedStudySequence"].is_undefined_length = undefined


PLAIN = {
    "as it is": lambda one: None,
    "a sequence of the same tags": nested,
    "odd values": lambda one: one.update({"PatientID": "a ", "ImageType": ["DERIVED", "AXIAL"], "NumberOfFrames": "7"}),
    "nothing told": lambda one: [one.__delattr__(name) for name in ("PatientID", "ImageType", "ImagePositionPatient")],
}


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_headers_are_read_as_pydicom_reads_them(image, tmp_path, name, syntax):
    """Mutations seen red: lengths of 16 bits for sequences; implicit headers read as explicit ones."""
    path = changed(image, tmp_path / "one.dcm", PLAIN[name], syntax)
    texts = plain_elements(path, _TAGS)
    assert texts is not None
    assert _header(texts) == _header(_parsed(path))


def test_what_is_not_plain_is_left_to_a_parser(image, tmp_path):
    """Mutations seen red: names in Latin letters decoded as ASCII with losses; bytes inflated by nobody."""
    others = [
        changed(image, tmp_path / "sequence.dcm", lambda one: nested(one, undefined=True)),
        changed(image, tmp_path / "deflated.dcm", lambda one: None, DeflatedExplicitVRLittleEndian),
        changed(image, tmp_path / "letters.dcm", lambda one: one.update({"PatientID": "Jürgen"})),
    ]
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(image.read_bytes()[132:])
    short = tmp_path / "short.dcm"
    short.write_bytes(image.read_bytes()[:400])
    for path in (*others, bare, short):
        assert plain_elements(path, _TAGS) is None, path
    (tmp_path / "text.dcm").write_text("no image" * 40)
    told = read_headers(tmp_path, list_files(tmp_path))
    assert told["text.dcm"] is None
    assert all(told[path.name] is not None for path in others)
    shutil.copy(image, tmp_path / "copy.dcm")
    plain = read_headers(tmp_path, list_files(tmp_path))["copy.dcm"]
    assert told["sequence.dcm"] == plain  # the nested patient is nobody's


def test_files_are_listed_in_the_order_of_their_parts(tmp_path):
    """Mutations seen red: hidden ones too; `a-b` before `a/c`."""
    for name in ("a/c.dcm", "a-b/d.dcm", ".hidden/e.dcm", "a/.f.dcm", "g.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "g.dcm")
    (tmp_path / "round").symlink_to(tmp_path)
    files = list_files(tmp_path)
    assert list(files) == ["a/c.dcm", "a-b/d.dcm", "g.dcm", "link.dcm"]
    assert files["a/c.dcm"][0] == 7
