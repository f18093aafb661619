"""Every hostile input ends within 5 s and 1 GB: in the scan as it was made, in a warning, or in one clear message."""

import re

import numpy as np
import pytest

from ctp_torch.errors import CTPError
from ctp_torch.io import read_series
from hostile.inputs import INPUTS, READS, REFUSES, WARNS, Hostile, scan
from hostile.mutations import bounded


def what_comes(folder, one):
    """Outcome and words of an input."""
    path = one.make(folder)
    try:
        with bounded():
            series = read_series(path if path is not None and not isinstance(path, dict) else folder, **one.options)
    except CTPError as error:
        return REFUSES, str(error)
    words = "\n".join(series.notes["warnings"])
    truth = scan(n_slices=series.hu.shape[1], rows=series.hu.shape[2], columns=series.hu.shape[3]).hu
    right = series.hu.shape == truth.shape and np.array_equal(series.hu.numpy(), truth)
    return (READS if right else WARNS if words else "silently wrong"), words


@pytest.mark.parametrize("name", INPUTS)
def test_hostile_input(name, tmp_path):
    """Mutations seen red: each line of `wrong_amount`; extractall in `unpack`; the checksum's end not read."""
    one: Hostile = INPUTS[name]
    came, words = what_comes(tmp_path / "data", one)
    if came == READS and words and WARNS in one.wanted:
        came = WARNS
    assert came in one.wanted, words
    assert re.search(one.says, words, re.DOTALL), words
    if came == REFUSES:
        assert len(words) > 25
        assert ":" in words or ";" in words or "give" in words, "no remedy"
