"""A patient is prepared once, whatever is learned of it; what was kept gives the very same numbers."""

import shutil

import pytest
import torch
from scenes import MAPS, write_toy_cohort

from ctp_torch import ops
from ctp_torch.errors import CTPError
from ctp_torch.io import read_cohort
from ctp_torch.learning import look
from ctp_torch.learning.desk import Desk
from ctp_torch.learning.look import look_at
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import prepare_all
from ctp_torch.pipeline import kept_motion
from ctp_torch.pipeline.engine import LocalEngine
from ctp_torch.pipeline.recipe import View

ARTERIAL = View("arterial", median_size=1, smoothing_mm=(2.0,))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return read_cohort(write_toy_cohort(tmp_path_factory.mktemp("cohort"), train=2, test=1, frames=30))


@pytest.fixture
def counted(monkeypatch):
    """Counts of scans prepared and of motions estimated."""
    counts = {"prepared": 0, "motions": 0}

    def counting(name, function):
        def call(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(look.pipeline, "prepare", counting("prepared", look.pipeline.prepare))
    monkeypatch.setattr(kept_motion, "estimate_motion", counting("motions", kept_motion.estimate_motion))
    return counts


def test_each_patient_is_prepared_once_and_moved_once(cohort, tmp_path, counted):
    """Two views, two targets' worth of maps, a renamed patient; other bytes are another scan.

    Mutations seen red: kept by the patient's name; the view left out of the key; motion kept by the view.
    """
    desk = Desk(tmp_path / "kept")
    options = {"registration": ops.register_rigid, "desk": desk}
    alone = list(prepare_all(cohort.patients, tmp_path / "0", quantities=MAPS, registration=ops.register_rigid))
    counted.update(prepared=0, motions=0)
    first = list(prepare_all(cohort.patients, tmp_path / "1", quantities=MAPS, **options))
    again = list(prepare_all(cohort.patients, tmp_path / "2", quantities=MAPS[:2], late=True, **options))
    assert counted == {"prepared": 3, "motions": 3}
    for one, other, bare in zip(first, again, alone, strict=True):
        kept, more, plain = PreparedPatient.load(one), PreparedPatient.load(other), PreparedPatient.load(bare)
        assert torch.equal(kept.curves, plain.curves)
        assert torch.equal(kept.targets, plain.targets)
        assert torch.equal(more.curves, plain.curves)
        assert torch.equal(more.targets, plain.targets[:2])
        assert more.late.any()
    list(prepare_all(cohort.patients, tmp_path / "3", quantities=MAPS, view=ARTERIAL, **options))
    assert counted == {"prepared": 6, "motions": 3}
    patient = cohort.patients[0]
    shutil.copytree(patient.series_path, tmp_path / "moved")
    from dataclasses import replace

    elsewhere = replace(patient, name="other", series_path=tmp_path / "moved")
    look_at(elsewhere, registration=ops.register_rigid, view=View(), cache=desk.cache)
    assert counted["prepared"] == 6
    sorted((tmp_path / "moved").iterdir())[0].unlink()
    with pytest.raises(CTPError):
        look_at(elsewhere, registration=ops.register_rigid, view=View(), cache=desk.cache)


def test_a_damaged_file_is_made_again(cohort, tmp_path, counted):
    """Mutation seen red: what can't be read handed on."""
    first = look_at(cohort.patients[0], registration=None, view=View(), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = look_at(cohort.patients[0], registration=None, view=View(), cache=tmp_path)
    assert counted["prepared"] == 2
    assert torch.equal(first.curves, again.curves)


@pytest.mark.slow
def test_several_processes_prepare_the_same(cohort, tmp_path, monkeypatch):
    """In the order of the patients; one that can't be read is told as it would be alone.

    Mutation seen red: files handed on in the order in which they come.
    """
    monkeypatch.setattr("ctp_torch.learning.desk._WORTH", 0.0)
    alone = list(prepare_all(cohort.patients, tmp_path / "1", quantities=MAPS))
    desk = Desk(tmp_path / "kept", LocalEngine(2))
    crowd = list(prepare_all(cohort.patients, tmp_path / "2", quantities=MAPS, desk=desk))
    assert [path.name for path in crowd] == [path.name for path in alone]
    for one, other in zip(crowd, alone, strict=True):
        assert torch.equal(PreparedPatient.load(one).curves, PreparedPatient.load(other).curves)
    with pytest.raises(CTPError, match="nothing"):
        list(prepare_all(cohort.patients, tmp_path / "3", quantities=("nothing",), desk=desk))
