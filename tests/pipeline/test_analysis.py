"""One scan, one call: what is made once, and that the parts and the whole agree."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from oracles.deliveries import dies, leaves_a_file, waits
from oracles.vessels import head
from scenes import scan, write_scan

import ctp_torch
from ctp_torch import MapSettings, Scan, analyse, ops, pipeline, prepare
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.scale import ColorScale
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import CTPError, ModelMismatchError, NoSeriesError, QualityError
from ctp_torch.models import Ridge
from ctp_torch.phantom import render_patient
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.pipeline.worker import run_in_process, work

COUNTED = ("enhancement", "select_aif", "select_vof", "brain_mask", "baseline_frames")


@pytest.fixture(scope="module")
def moving():
    """Thick slices of a head that moves, so that every step of the story has something to do."""
    return render_patient(41, 3, size=96, motion="mild").series


@pytest.fixture(scope="module")
def still():
    return scan(n=64, n_slices=3, frames=40)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("one") / "dicom"
    write_scan(place, n=64, n_slices=3, frames=40)
    return place


def counted(monkeypatch):
    """How often each of the counted operations is called from now on."""
    calls = Counter()

    def call(name, function, *args, **options):
        calls[name] += 1
        return function(*args, **options)

    for name in COUNTED:
        monkeypatch.setattr(ops, name, partial(call, name, getattr(ops, name)))
    return calls


@pytest.mark.parametrize(
    ("moves", "brains", "baselines"),
    [(False, 2, 1), (True, 5, 3)],
    ids=["as it is", "thick slices that move: before, put back, and without what moved through them"],
)
def test_nothing_is_looked_for_twice_in_the_same_frames(still, moving, moves, brains, baselines, monkeypatch):
    """A brain in the first frames tells the baseline, one in the baseline is the brain.

    Mutations seen red: a brain found again for the maps; vessels of its own for the quality.
    """
    calls = counted(monkeypatch)
    analysis = analyse(moving) if moves else analyse(still, MapSettings(registration="none"))
    assert analysis.maps.provenance.aif is not None
    assert calls == {"enhancement": 1, "select_aif": 1, "select_vof": 1} | {
        "brain_mask": brains,
        "baseline_frames": baselines,
    }


def test_a_scan_is_its_parts_put_together(moving):
    """prepare against the public steps one by one, bit for bit.

    Mutations seen red: the motion estimated on filtered HU; the baseline counted before motion is undone.
    """
    ready = prepare(moving)
    apart = ctp_torch.slabs(pipeline.preprocess(moving, registration=ops.register_rigid, median_size=1))
    assert torch.equal(ready.series.hu, apart.hu)
    anatomy = pipeline.locate(apart)
    assert ready.anatomy.n_baseline == anatomy.n_baseline
    for name in ("baseline", "head", "brain"):
        assert torch.equal(getattr(ready.anatomy, name), getattr(anatomy, name)), name
    assert ready.series.provenance.preparation == ("torch", 1, "none")


def test_thin_slices_of_a_scan_are_slabs():
    made = head(64, 20, 0.5, frames=40, noise=4.0)
    times = torch.arange(40.0, dtype=torch.float64)[:, None].expand(-1, 20).contiguous()
    ready = prepare(CTPSeries(made.hu, times, Geometry((20, 64, 64), made.spacing)), registration=None)
    assert ready.series.hu.shape[1] == 2
    assert ready.series.provenance.slabs == (10, 0.5)
    assert ready.anatomy.brain.shape == (2, 64, 64)
    assert ready.motion is None


def test_a_known_motion_is_undone_without_being_estimated(moving):
    once = prepare(moving)
    again = prepare(moving, registration=once.motion)
    assert torch.equal(once.series.hu, again.series.hu)
    with pytest.raises(ValueError, match="known are torch, simpleitk, none"):
        prepare(moving, registration="elastic")


def test_every_door_gives_the_same_maps(folder, tmp_path):
    """A folder, its series, and its scan. Mutation seen red: a scan that is handed in is prepared again."""
    series = ctp_torch.read_series(folder)
    answers = [analyse(folder), analyse(series), analyse(prepare(series))]
    for other in answers[1:]:
        assert all(torch.equal(answers[0].maps[name], other.maps[name]) for name in answers[0].maps.values)
        assert other.lesions.summary() == answers[0].lesions.summary()
        assert other.used == answers[0].used
    assert answers[0].source == folder
    stages = []
    analyse(series, progress=stages.append)
    assert stages[0] == "read"
    assert stages[-1] == "lesions"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"method": "fft"}, "unknown method 'fft'; choose among csvd"),
        ({"method": "csvd", "model": "m.safetensors"}, "exclude each other"),
        ({"registration": "elastic"}, "unknown registration 'elastic'"),
        ({"aif": "1,2"}, "--aif '1,2': give auto"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_anything_is_read(wrong, error):
    with pytest.raises(CTPError, match=error):
        analyse("no such folder", MapSettings(**wrong))


def test_a_strict_run_ends_at_the_quality(folder):
    short = ctp_torch.read_series(folder)
    short = replace(short, hu=short.hu[:22], times=short.times[:22])
    assert any("truncated" in line for line in analyse(short).warnings)
    with pytest.raises(QualityError, match=r"fails quality control: .*truncated"):
        analyse(short, MapSettings(strict=True))


@pytest.fixture(scope="module")
def student():
    """A model that learned the mean of aligned, filtered curves."""
    X = torch.rand(200, 40, generator=torch.Generator().manual_seed(0))
    model = Ridge(alpha=1e-6).fit(X, 255 * X.mean(dim=1, keepdim=True))
    recipe = Recipe(frames=40, dt=1.0, targets={"cbv": (0.0, 8.0)}, registration="torch", median_size=3)
    model.metadata_ = {"recipe": recipe.as_metadata()}
    return model


def test_a_model_gets_the_scan_it_learned_from(student):
    """Mutation seen red: a raw series predicted as it is."""
    series, _ = scan(n=64, n_slices=3, frames=40)
    ready = prepare(series, registration="torch", median_size=3, slab_mm=0.0)
    by_itself, prepared = ctp_torch.predict(series, student), ctp_torch.predict(ready, student)
    assert torch.equal(by_itself["cbv"], prepared["cbv"])
    mean = pipeline.features(ready.series).mean(dim=0)
    inside = prepared.mask
    expected = ColorScale(0.0, 8.0).value(255 * mean)
    torch.testing.assert_close(prepared["cbv"][inside], expected[inside], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "otherwise", [{"median_size": 1}, {"registration": "none", "median_size": 3}, {"registration": "none"}]
)
def test_a_scan_prepared_otherwise_is_refused_with_the_way_on(student, otherwise):
    """Mutations seen red: only the filter compared; only the registration."""
    series, _ = scan(n=64, n_slices=3, frames=40)
    ready = prepare(series, slab_mm=0.0, **otherwise)
    message = r"prepare\(series, registration='torch', median_size=3, slab_mm=0\)"
    for given in (ready, ready.series):
        with pytest.raises(ModelMismatchError, match=message):
            ctp_torch.predict(given, student)


def test_slabs_are_no_slices_that_a_model_learned(student):
    made = head(64, 20, 0.5, frames=40, noise=4.0)
    times = torch.arange(40.0, dtype=torch.float64)[:, None].expand(-1, 20).contiguous()
    thin = CTPSeries(made.hu, times, Geometry((20, 64, 64), made.spacing))
    with pytest.raises(ModelMismatchError, match="10 slices averaged to one"):
        ctp_torch.predict(prepare(thin, median_size=3), student)


def test_a_series_is_a_scan_of_what_it_is():
    """deconvolve takes both. Mutation seen red: a series prepared behind the caller's back."""
    series, _ = scan(n=64, n_slices=3, frames=40)
    bare = Scan(series, None, pipeline.locate(series))
    assert torch.equal(ctp_torch.deconvolve(series)["cbf"], ctp_torch.deconvolve(bare)["cbf"])


def test_colour_scales_invert():
    scale, values = ColorScale(-2.0, 12.0), torch.linspace(-2.0, 12.0, 29)
    torch.testing.assert_close(scale.value(scale.index(values)), values)
    assert scale.index(torch.tensor([-9.0, 40.0])).tolist() == [0.0, 255.0]


def test_a_worker_tells_what_came_of_it(folder, tmp_path):
    good = work(folder, tmp_path / "good", MapSettings(), leaves_a_file)
    assert (good.exit_code, good.message) == (0, "")
    assert (tmp_path / "good" / "cbf.txt").is_file()
    assert good.lesions["core_ml"] == analyse(folder).lesions.summary()["core_ml"]
    missing = work(tmp_path / "nothing", tmp_path / "bad", MapSettings(), leaves_a_file)
    assert missing.exit_code == NoSeriesError.exit_code
    assert "doesn't exist" in missing.message
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_a_worker_that_dies_is_an_answer(folder, tmp_path):
    """Mutations seen red: waiting for a dead process; its exit code taken for success."""
    killed = run_in_process(folder, tmp_path, MapSettings(), dies, threads=1)
    assert killed.exit_code == -9
    assert "killed by signal 9" in killed.message
    late = run_in_process(folder, tmp_path, MapSettings(), waits, threads=1, limit_s=8.0)
    assert (late.exit_code, late.message) == (-15, "took longer than 8 s and was ended")
    good = run_in_process(folder, tmp_path / "good", MapSettings(), leaves_a_file, threads=1)
    assert good.exit_code == 0
    assert good.seconds > 0
