"""What a study does with maps that show no lesion, and with maps that show nothing at all.

Mutation seen red: every `CTPError` of `delineate` taken for "no lesion".
"""

from dataclasses import replace

import pytest
import torch

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.errors import CTPError, NoNormalTissueError
from ctp_torch.lesions.find import survey
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.study.work import lesions


@pytest.fixture
def maps():
    """A healthy brain."""
    brain = torch.zeros(2, 48, 48, dtype=torch.bool)
    brain[:, 8:40, 10:38] = True
    values = {"cbf": 45.0 * brain, "tmax": 1.5 * brain}
    return PerfusionMaps(values, brain, Geometry(tuple(brain.shape), (8.0, 4.0, 4.0)))


def test_without_normal_tissue_there_are_no_parts(maps):
    late = replace(maps, values={**maps.values, "tmax": 20.0 * maps.mask})
    assert lesions._parts(survey(late), Thresholds()) is None
    assert not lesions._parts(survey(maps), Thresholds())["core"].any()


def test_another_error_is_not_taken_for_an_answer(maps, monkeypatch):
    def fail(*_):
        raise CTPError("the disk is full")

    assert issubclass(NoNormalTissueError, CTPError)
    monkeypatch.setattr(lesions, "delineate", fail)
    with pytest.raises(CTPError, match="disk"):
        lesions._parts(survey(maps), Thresholds())
