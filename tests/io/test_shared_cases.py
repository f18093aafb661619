"""The made cases of other people's scans beside the checkout: each reads to what is right, or is refused as it says.

The folder isn't part of the repository: without it these tests skip, and the traps and tables of this suite hold the
same kinds.
"""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from ctp_torch.errors import CTPError
from ctp_torch.io import read_series, read_value_maps

FOLDER = Path(__file__).parents[3] / "shared" / "cases" / "reading"
CASES = [line.split("\t")[0] for line in (FOLDER / "INDEX.tsv").read_text().splitlines()[1:]] if FOLDER.is_dir() else []

REFUSED = {
    "converter_sidecar_frame_times_start": "--times",
    "converter_sidecar_volume_timing": "--times",
    "date_shifted_in_one_frame": "day|date",
    "frame_of_reference_per_series": "frames? of reference",
    "header_step_milliseconds_as_seconds": "1,?500.*1.5|millisecond",
    "leading_zero_lost": "93000",
    "maps_of_two_patients": "patients",
    "mask_named_like_its_map": "Tmax|CBF",
    "nested_zip": "zip",
    "no_clock_random_numbers_dt": "slice by slice|volume by volume",
    "one_frame_other_kvp": "kVp|KVP|tube voltage",
    "one_frame_other_thickness": "thickness",
    "shuttle_hysteresis": "position|further|apart",
    "shuttle_positions_equal_times_differ": "position|Slice Location",
    "study_per_file": "(?i)stud(y|ies)",
    "tarball": "(?i)tar",
    "two_volumes_before_and_after": "perfusion|volumes",
    "zip_in_folder": "zip",
    "zone_in_some_files": "(?i)UTC|zone|offset",
}
"""Words of a refusal, for the cases that may be refused; any other must read."""
ONLY_REFUSED = {
    "header_step_milliseconds_as_seconds", "maps_of_two_patients", "no_clock_random_numbers_dt",
    "shuttle_positions_equal_times_differ", "two_volumes_before_and_after",
}  # fmt: skip
WARNED = {
    "date_shifted_in_one_frame": "day|date",
    "frame_of_reference_per_series": "(?i)frames? of reference",
    "hu_offset_nifti": r"(?i)air.*1,?024",
}
"""Words of a warning that reading must raise."""


def _made(name, folder, patch):
    """The case written, and what is right."""
    patch.setattr(sys, "argv", [name, str(folder)])
    runpy.run_path(str(FOLDER / f"{name}.py"))
    return json.loads(folder.with_suffix(".expected.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_case(name, tmp_path, monkeypatch):
    right = _made(name, tmp_path / "case", monkeypatch)
    place = Path(right.get("path", tmp_path / "case"))
    maps = right.get("reader") == "read_value_maps"
    try:
        result = read_value_maps(place) if maps else read_series(place, **right.get("options", {}))
    except CTPError as refusal:
        _check_refusal(name, str(refusal))
        return
    assert name not in ONLY_REFUSED, "read, where it can't be right"
    if maps:
        _check_maps(result, right)
        return
    text = "\n".join(result.provenance.warnings)
    assert re.search(WARNED.get(name, ""), text), text
    if "times" in right:
        times = np.array(right["times"], float)
        np.testing.assert_allclose(result.times, times if times.ndim == 2 else times[:, None] + np.zeros(4), atol=2e-3)
    if "hu" in right:
        np.testing.assert_array_equal(result.hu.numpy(), np.array(right["hu"]))
    assert result.hu.shape == (len(result.times), 4, 16, 18)
    np.testing.assert_allclose(result.geometry.spacing, (5.0, 0.5, 0.4), rtol=2e-3)
    assert result.geometry.shape == (4, 16, 18)


def _check_refusal(name, message):
    """Whether the case may be refused, in one short message that says why (not by a path that happens to)."""
    assert name in REFUSED, message
    assert re.search(REFUSED[name], re.sub(r"\S+/\S+", "", message)), message
    assert len(message) < 800, message


def _check_maps(maps, right):
    """The values that the case tells."""
    for name in ("tmax", "cbf"):
        if f"{name}_max" in right:
            assert maps[name].values.max() == pytest.approx(right[f"{name}_max"])
    if "value_max_per_slice" in right:
        np.testing.assert_allclose(maps["cbf"].values.amax((1, 2)), right["value_max_per_slice"], rtol=2e-3)
