"""What a notebook shows of the nouns, and what a dictionary of maps does."""

import base64
import io

import pytest
import torch

import ctp_torch
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.provenance import Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.io import Cohort, CohortPatient
from ctp_torch.lesions.find import Lesions
from ctp_torch.lesions.thresholds import Thresholds

GEOMETRY = Geometry((8, 40, 30), (5.0, 2.0, 1.5))


def series():
    times = torch.arange(4, dtype=torch.float64)[:, None].expand(4, 8).contiguous()
    hu = torch.full((4, 8, 40, 30), 40.0)
    hu[:, :, :20] = 80.0
    return CTPSeries(hu, times, GEOMETRY, Provenance(format="drawn"))


def maps():
    values = {"cbf": torch.full((8, 40, 30), 60.0), "tmax": torch.zeros(8, 40, 30)}
    return PerfusionMaps(values, torch.ones(8, 40, 30, dtype=torch.bool), GEOMETRY)


def picture(text):
    from PIL import Image

    data = text.split("base64,")[1].split('"')[0]
    return torch.tensor(list(Image.open(io.BytesIO(base64.b64decode(data))).convert("L").tobytes()))


def test_a_line_says_what_they_are():
    assert repr(series()) == "CTPSeries(4 frames every 1 s, 8 x 40 x 30 voxels of 5 x 2 x 1.5 mm, torch.float32 on cpu)"
    assert repr(maps()) == "PerfusionMaps(cbf, tmax; 8 x 40 x 30 voxels of 5 x 2 x 1.5 mm, 9600 in the mask)"
    patients = tuple(CohortPatient(n, s, None, None) for n, s in (("a", "train"), ("b", "train"), ("c", "test")))
    cohort = Cohort(None, patients, {"cbf": (0.0, 60.0)})
    assert repr(cohort) == "Cohort(3 patients: 2 train, 1 test; maps cbf)"
    assert [patient.name for patient in cohort] == ["a", "b", "c"]


def test_a_notebook_shows_slices_in_their_display_range():
    """Mutations seen red: the window shifted by 40 HU; maps in one row after another left out."""
    page = series()._repr_html_()
    assert "4 frames every 1 s" in page
    grey = picture(page).view(40, 6 * 30)  # six of eight slices
    assert set(grey[:20].flatten().tolist()) == {255}
    assert set(grey[20:].flatten().tolist()) == {128}
    rows = picture(maps()._repr_html_()).view(2 * 40, 6 * 30)
    assert set(rows[:40].flatten().tolist()) == {255}
    assert set(rows[40:].flatten().tolist()) == {0}


def test_maps_are_a_mapping_of_their_names():
    held = maps()
    assert list(held) == ["cbf", "tmax"]
    assert len(held) == 2
    assert "cbf" in held
    assert "mtt" not in held
    assert dict(held).keys() == dict(held.items()).keys() == set(held.keys())
    with pytest.raises(KeyError, match="no map 'mtt'; there are cbf, tmax"):
        held["mtt"]
    assert held.to("meta")["cbf"].device.type == held.to("meta").mask.device.type == "meta"


def test_lesions_and_results_say_what_they_are():
    mask = torch.zeros(8, 40, 30, dtype=torch.bool)
    core, slow = mask.clone(), mask.clone()
    slow[:, 10:30], core[:, 10:20] = True, True
    lesions = Lesions(core, slow, mask, ~slow, "left", 50.0, 0.0, None, 0.015, 5.0, Thresholds(), ())
    assert repr(lesions).startswith("Lesions(core 36.0 mL, hypoperfusion 72.0 mL, penumbra 36.0 mL; side left; core")
    grey = picture(lesions._repr_html_()).view(40, 6 * 30)
    assert [grey[row].unique().tolist() for row in (5, 15, 25)] == [[0], [255], [128]]
    assert lesions.to("meta").core.device.type == "meta"
    learned = PerfusionMaps({"infarct": torch.zeros(8, 40, 30)}, mask, GEOMETRY)
    assert "infarct" in learned._repr_html_()
    patients = (CohortPatient("<a>", "train", None, None),)
    assert "&lt;a&gt;" in Cohort(None, patients, {"cbf": (0.0, 60.0)})._repr_html_()


WRONG = {
    "read_series": (3,), "read_cohort": (None,), "read_thresholds": (1.5,), "load_model": ([],), "prepare": ("FOLDER",),
    "preprocess": (0,), "slabs": (maps,), "deconvolve": (torch.zeros(2),), "predict": ("FOLDER", None),
    "features": (None,), "find_lesions": ({},), "analyse": (torch.zeros(2),), "write_analysis": ("out", "out"),
    "write_maps": ({}, "out"), "to_sitk": (3,), "to_nibabel": ("x",), "from_sitk": (3,), "from_nibabel": ("x",),
    "sample_pixels": (3, 4), "score_patient": (1, {}), "score_maps": (1, 2, 3, 4),
}  # fmt: skip


@pytest.mark.parametrize("verb", WRONG)
def test_a_wrong_type_is_told_by_the_verb(verb):
    """Mutation seen red: `check_type` that lets everything through."""
    with pytest.raises(TypeError, match=rf"(^{verb}: \w+ must be|is needed, got) .*got|needed, got"):
        getattr(ctp_torch, verb)(*WRONG[verb])
    with pytest.raises(TypeError, match=r"analyse: settings must be MapSettings, got str: such as"):
        ctp_torch.analyse("FOLDER", "osvd")
    with pytest.raises(TypeError, match=r"method must be a function such as ctp_torch.ops.osvd, got 'osvd'"):
        ctp_torch.deconvolve(series(), "osvd")
