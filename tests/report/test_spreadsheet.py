"""Cells that a spreadsheet would run."""

import csv
import io
import math

import pytest

from ctp_torch.report.spreadsheet import csv_text, unquoted


def test_text_that_would_be_run_is_quoted_and_numbers_are_not():
    """Mutations seen red: ``@`` left out; negative numbers quoted; NaN written."""
    run = ["=1+1", "+cmd", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "＝1"]
    plain = ["", "p01", "a=b", "-3.5", "+1e5", "-inf", -2, -0.25, "'=quoted already"]
    text = csv_text([run, [*plain, None, math.nan]])
    first, second = csv.reader(io.StringIO(text))
    assert first == [f"'{cell}" for cell in run]
    assert second == [*map(str, plain), "", ""]
    assert [unquoted(cell) for cell in first] == run
    assert [unquoted(cell) for cell in second[:8]] == list(map(str, plain[:8]))


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "-p 3", "p,01"])
def test_a_patient_of_any_name_is_read_back(tmp_path, name):
    from ctp_torch.learning.evaluate import SliceScore
    from ctp_torch.report.tables import read_scores, write_scores

    row = SliceScore(name, 3, "test", "cbf", "krr", 0.0, 0.5, 0.25, 1.0, -0.5)
    write_scores([row], tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == [row]
