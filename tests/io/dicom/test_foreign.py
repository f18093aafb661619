"""Other people's scans, kind by kind: read to what they hold, read with a warning, or refused in clear words."""

import json
import re

import pytest
from oracles.foreign import FOREIGN
from oracles.traps import Refuses
from oracles.traps.trap import check

from ctp_torch.io import read_series


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_scan(name, tmp_path):
    expected = FOREIGN[name](tmp_path / "data")
    path = expected.path or tmp_path / "data"
    if isinstance(expected, Refuses):
        with pytest.raises(expected.error, match=re.compile(expected.match, re.DOTALL)) as caught:
            read_series(path, **expected.options)
        assert "SECRET" not in str(caught.value).upper()
        return
    series = read_series(path, **expected.options)
    check(expected, series)
    assert re.search(expected.says, "\n".join(series.provenance.warnings)), series.provenance.warnings
    assert expected.source in ("", series.provenance.time_source)
    assert "SECRET" not in json.dumps(series.provenance.as_dict()).upper()
