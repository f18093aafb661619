"""What reading says of digital patients with nothing amiss: half as DICOM, half as NIfTI, moving as they were drawn.

    python benchmarks/clean_patients.py --seeds 8501 --patients 100 [--json results/clean_patients.json]

A warning on these is a false one. Every second pair of patients is 128 pixels wide, the others 64.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import common
import torch

from ctp_torch import read_series
from ctp_torch.io import StudyHeader, write_ct_series, write_nifti_series
from ctp_torch.phantom import render_patient


def warnings_of(seed, index):
    """The warnings of reading patient ``index`` of the cohort ``seed``; the voxels read are those written."""
    series = render_patient(seed, index, size=(64, 128)[index // 2 % 2]).series
    series = replace(series, hu=series.hu.round())
    with tempfile.TemporaryDirectory() as folder:
        if index % 2 == 0:
            place = Path(folder) / "ct"
            write_ct_series(series, place, header=StudyHeader(seed=(seed, index)))
        else:
            place = write_nifti_series(Path(folder) / "ct.nii.gz", series)
        again = read_series(place)
    assert torch.equal(again.hu, series.hu), (seed, index)
    return again.provenance.warnings


def main():
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--patients", type=int, default=100, help="of each seed")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kinds, warned, n = Counter(), 0, 0
    for seed in options.seeds:
        for index in range(options.first, options.first + options.patients):
            warnings = warnings_of(seed, index)
            n, warned = n + 1, warned + bool(warnings)
            for warning in warnings:
                print(seed, index, warning, flush=True)
                kinds[re.sub(r"[\d.,]+", "#", warning)] += 1
    print(f"{n} patients, {warned} with warnings, {kinds.total()} warnings")
    if options.json:
        record = {"seeds": options.seeds, "patients": n, "with_warnings": warned, "warnings": dict(kinds)}
        options.json.write_text(json.dumps({**record, "machine": common.machine()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
