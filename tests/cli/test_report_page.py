"""``ctp-torch maps`` leaves a page beside the maps: the same numbers, nobody's name, and none when not wanted."""

import json
import re

import nibabel
import numpy as np
import pytest
from oracles.report import embedded, unpacked
from scenes import scan

from ctp_torch.io import StudyHeader, write_ct_series

NAME = "ZAPHOD^BEEBLEBROX"


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A scan whose header and folder tell a name."""
    folder = tmp_path_factory.mktemp(NAME.replace("^", "_")) / "dicom"
    series, _ = scan(n=64, n_slices=3, frames=40)
    write_ct_series(series, folder, header=StudyHeader(patient=NAME, seed=0))
    assert any(NAME.encode() in file.read_bytes() for file in folder.iterdir())
    return folder


@pytest.mark.slow
def test_the_page_shows_the_maps_that_were_written_and_no_identity(run, person, tmp_path):
    done = run("maps", person, "-o", tmp_path / "out", "--registration", "none")
    assert done.code == 0, done.err
    assert "see report.html" in done.out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for file in [tmp_path / "out" / "report.html", *(tmp_path / "out" / "report").iterdir()]:
        assert not re.search("zaphod|beeblebrox", file.read_text(encoding="utf-8"), re.IGNORECASE), file.name
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    told = json.loads((tmp_path / "out" / "report" / "report.json").read_text(encoding="utf-8"))
    header = told["patients"][0]
    assert dict(header["settings"])["method"] == "csvd"
    assert header["sets"][0]["lesion"] is not None
    shape = tuple(header["shape"][1:])
    for name in ("cbf", "tmax"):
        volume = np.asarray(nibabel.load(tmp_path / "out" / f"{name}.nii.gz").dataobj).T  # (z, y, x)
        step = header["steps"][f"map/0/{name}"]
        for z, stream in enumerate(embedded(page, 0, f"map/0/{name}")):
            whole = unpacked(stream, shape, (-1, -2))
            known = whole != -32768
            assert known.any()
            np.testing.assert_allclose(whole[known] * step, volume[z][known], atol=0.5001 * step, rtol=1e-6)
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert "report" in record["timings_s"]


@pytest.mark.slow
def test_no_page_where_none_is_wanted(run, person, tmp_path):
    done = run("maps", person, "-o", tmp_path / "out", "--registration", "none", "--no-report", "--no-lesions")
    assert done.code == 0, done.err
    assert not (tmp_path / "out" / "report.html").exists()
    assert "see montage.png" in done.out
