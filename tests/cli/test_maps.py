"""``ctp-torch maps`` on DICOM files: the same whatever their names, complete or not there at all, and anonymous."""

import hashlib
import json
import shutil

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from oracles.vessels import head

from ctp_torch import pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.series import CTPSeries
from ctp_torch.io import read_series, write_nifti_series, write_volume


def values(path):
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@pytest.mark.slow
def test_maps_are_written_with_the_series_geometry(run, scan_folder, tmp_path):
    options = ("--method", "cSVD", "--registration", "None", "--profile")  # names in any case
    done = run("maps", scan_folder, "-o", tmp_path / "out", *options)
    assert done.code == 0, done.err
    assert "motion estimate" in done.out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names >= {"core.nii.gz", "penumbra.nii.gz", "lesion.json", "lesion.png", "baseline.nii.gz"}
    assert names >= {"cbf.nii.gz", "cbv.nii.gz", "mtt.nii.gz", "tmax.nii.gz", "mask.nii.gz", "montage.png", "run.json"}
    series = read_series(scan_folder)
    image = nibabel.load(tmp_path / "out" / "cbv.nii.gz")
    assert image.shape == series.geometry.shape[::-1]
    corner = image.affine @ [0, 0, 0, 1]
    np.testing.assert_allclose(corner[:3] * [-1, -1, 1], series.geometry.origin, atol=1e-3)
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["settings"]["method"] == "csvd"
    assert record["settings"]["registration"] == "none"
    assert record["device"] == "cpu"
    assert {"ctp-torch", "torch"} <= set(record["versions"])
    assert set(record["timings_s"]) >= {"read", "median filter", "maps", "write"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_deconvolution_is_given_the_frames_as_they_were_taken(run, scan_folder, tmp_path):
    """It smooths by its own Gaussian, and a median thins the arteries. Mutation seen red: a median of 3 before it."""
    done = run("maps", scan_folder, "-o", tmp_path / "out", "--registration", "none")
    assert done.code == 0, done.err
    expected = pipeline.deconvolve(read_series(scan_folder))
    for name in ("cbf", "tmax"):
        found = values(tmp_path / "out" / f"{name}.nii.gz").transpose(2, 1, 0)
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_moved_and_renamed_files_give_the_same_maps(run, scan_folder, tmp_path):
    """Files are found by their headers: their names, folders and order say nothing."""
    rng = np.random.default_rng(0)
    files = sorted(scan_folder.iterdir())
    elsewhere = tmp_path / "usb stick" / "export"
    for number, i in enumerate(rng.permutation(len(files))):
        target = elsewhere / f"{number % 7}" / f"{rng.integers(1 << 40):x}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[i], target)
    for folder, name in ((scan_folder, "a"), (elsewhere, "b")):
        done = run("maps", folder, "-o", tmp_path / name, "--registration", "none")
        assert done.code == 0, done.err
    for name in ("cbf", "cbv", "mtt", "tmax"):
        np.testing.assert_array_equal(
            values(tmp_path / "a" / f"{name}.nii.gz"), values(tmp_path / "b" / f"{name}.nii.gz")
        )


@pytest.mark.slow
def test_a_chosen_artery_is_read_from_exactly_that_voxel(run, scan_folder, tmp_path):
    """Mutation seen red: exchanging x and y."""
    series = read_series(scan_folder)
    x, y, z = 24, 30, 1
    done = run("maps", scan_folder, "-o", tmp_path / "out", "--aif", f"{x},{y},{z}", "--registration", "none")
    assert done.code == 0, done.err
    note = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["maps"]
    assert note["aif"]["voxels_xyz"] == [[x, y, z]]
    raw = series.hu[:, z, y, x].numpy()
    np.testing.assert_allclose(note["aif"]["curve_hu"], raw - raw[: note["baseline_frames"]].mean(), atol=2e-3)


def test_an_artery_outside_the_brain_is_accepted_with_a_warning(run, scan_folder, tmp_path):
    done = run("maps", scan_folder, "-o", tmp_path / "out", "--aif", "2,2,1", "--registration", "none")
    assert "outside the brain" in done.err or "no bolus" in done.err
    assert "Traceback" not in done.err
    assert done.code == (7 if "no bolus" in done.err else 0)


@pytest.mark.slow
def test_a_curve_file_and_a_vessel_mask_are_taken(run, scan_folder, tmp_path):
    """Mutation seen red: taking the first column of a two-column file for the curve."""
    series = read_series(scan_folder)
    t = np.arange(40.0)
    curve = 200 * np.exp(-0.5 * ((t - 16) / 4) ** 2)
    (tmp_path / "one.txt").write_text("\n".join(f"{v:.4f}" for v in curve))
    (tmp_path / "two.csv").write_text("time,hu\n" + "\n".join(f"{a},{v:.4f}" for a, v in zip(t, curve, strict=True)))
    vein = series.hu.new_zeros(series.geometry.shape)
    vein[1, 52:54, 31:33] = 1
    write_volume(tmp_path / "vein.nii.gz", vein, series.geometry)
    for name in ("one.txt", "two.csv"):
        done = run(
            *("maps", scan_folder, "-o", tmp_path / name[:3], "--registration", "none"),
            *("--aif", tmp_path / name, "--vof", tmp_path / "vein.nii.gz"),
        )
        assert done.code == 0, done.err
        told = (tmp_path / name[:3] / "run.json").read_text(encoding="utf-8")
        assert str(tmp_path) not in told  # folders and files may be named after people
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert json.loads(told)["settings"]["aif"] == f"file, sha256 {digest[:16]}"
        note = json.loads(told)["maps"]
        np.testing.assert_allclose(note["aif"]["curve_hu"], curve, atol=2e-3)
        assert sorted(note["vof"]["voxels_xyz"]) == [[31, 52, 1], [31, 53, 1], [32, 52, 1], [32, 53, 1]]
    (tmp_path / "short.txt").write_text("1\n2\n3")
    (tmp_path / "words.txt").write_text("a\nb c\nd")
    for name, code, message in (("short.txt", 1, "3 numbers, the series 40 frames"), ("words.txt", 4, "not a curve")):
        done = run("maps", scan_folder, "-o", tmp_path / "bad", "--registration", "none", "--aif", tmp_path / name)
        assert (done.code, message in done.err) == (code, True), done.err


@pytest.mark.slow
def test_a_mask_decides_where(run, scan_folder, tmp_path):
    series = read_series(scan_folder)
    mask = series.hu.new_zeros(series.geometry.shape)
    mask[1, 25:40, 20:44] = 1
    write_volume(tmp_path / "mask.nii.gz", mask, series.geometry)
    done = run(
        "maps", scan_folder, "-o", tmp_path / "out", "--mask", tmp_path / "mask.nii.gz", "--registration", "none"
    )
    assert done.code == 0, done.err
    np.testing.assert_array_equal(values(tmp_path / "out" / "mask.nii.gz").T, mask.numpy())
    assert not values(tmp_path / "out" / "cbf.nii.gz").T[mask.numpy() == 0].any()


@pytest.fixture(scope="module")
def thin_scan(tmp_path_factory):
    """Twelve slices of 1 mm of the small head, as NIfTI."""
    made = head(64, 12, 1.0, frames=40, noise=3.0)
    times = torch.arange(40.0, dtype=torch.float64)[:, None].expand(-1, 12).contiguous()
    series = CTPSeries(made.hu.round(), times, Geometry((12, 64, 64), made.spacing, (-115.0, -115.0, 20.0)))
    path = tmp_path_factory.mktemp("thin") / "thin.nii.gz"
    write_nifti_series(path, series)
    return path, series, made


@pytest.mark.slow
def test_thin_slices_become_slabs_unless_told_not_to(run, thin_scan, tmp_path):
    """Mutations seen red: the option read by none; a mask on slices for one on slabs; the chosen voxel's slice told."""
    path, series, made = thin_scan
    x, y, z = (int(v) for v in made.artery.nonzero()[-1].flip(0))
    mask = made.brain.clone()
    mask[:8] = False
    write_volume(tmp_path / "mask.nii.gz", mask.to(torch.uint8), series.geometry)
    common = ("maps", path, "--registration", "none", "--dt", 1)
    done = run(
        *(*common, "-o", tmp_path / "slabs", "--formats", "nifti,pm,seg"),
        *("--aif", f"{x},{y},{z}", "--mask", tmp_path / "mask.nii.gz"),
    )
    assert done.code == 0, done.err
    assert "slices every 1 mm averaged to 3 slabs of 4 mm" in done.out
    image = nibabel.load(tmp_path / "slabs" / "cbf.nii.gz")
    assert image.shape == (64, 64, 3)
    assert (image.affine @ [0, 0, 0, 1])[2] == pytest.approx(21.5)
    assert image.header.get_zooms()[2] == pytest.approx(4.0)
    known = values(tmp_path / "slabs" / "mask.nii.gz").T > 0
    np.testing.assert_array_equal(known[:2], False)
    np.testing.assert_array_equal(known[2], mask[8:].float().mean(dim=0).numpy() >= 0.5)
    record = json.loads((tmp_path / "slabs" / "run.json").read_text(encoding="utf-8"))
    assert record["maps"]["aif"]["voxels_xyz"] == [[x, y, z // 4]]
    raw = series.hu[:, z, y, x].numpy()
    told = record["maps"]["aif"]["curve_hu"]
    np.testing.assert_allclose(told, raw - raw[: record["maps"]["baseline_frames"]].mean(), atol=2e-3)
    assert record["settings"]["slab_mm"] == 5.0
    assert record["series"]["slabs"] == {"slices": 4, "slice_mm": 1.0}
    objects = [pydicom.dcmread(file) for file in (tmp_path / "slabs" / "dicom").rglob("*.dcm")]
    for one in objects:
        places = [g.PlanePositionSequence[0].ImagePositionPatient[2] for g in one.PerFrameFunctionalGroupsSequence]
        assert {round(float(place), 2) for place in places} <= {21.5, 25.5, 29.5}
    assert {one.Modality for one in objects} >= {"SEG"}
    done = run(*common, "-o", tmp_path / "thin", "--slab-mm", 0)
    assert done.code == 0, done.err
    assert nibabel.load(tmp_path / "thin" / "cbf.nii.gz").shape == (64, 64, 12)
    assert "averaged" not in done.out


@pytest.mark.slow
def test_no_identity_anywhere(run, scan_folder, tmp_path):
    """Mutation seen red: noting the patient's name in run.json."""
    secrets = {
        "PatientName": "Secretus^Maxima",
        "PatientID": "ID-4711-SECRET",
        "AccessionNumber": "ACC987654",
        "PatientBirthDate": "19440203",
        "ReferringPhysicianName": "Hidden^Doctor",
        "InstitutionName": "Clinic of Secrets",
    }
    folder = tmp_path / "identified"
    folder.mkdir()
    for file in scan_folder.iterdir():
        dataset = pydicom.dcmread(file)
        for name, value in secrets.items():
            setattr(dataset, name, value)
        dataset.save_as(folder / file.name)
    done = run("maps", folder, "-o", tmp_path / "out", "--registration", "none")
    info = run("info", folder, "--json")
    assert done.code == info.code == 0, done.err + info.err
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    written = b"".join(p.read_bytes() for p in files) + "".join([*done[1:], *info[1:]]).encode()
    for path in (tmp_path / "out").glob("*.nii.gz"):
        import gzip

        written += gzip.decompress(path.read_bytes())
    for value in secrets.values():
        for part in value.split("^"):
            assert part.encode() not in written


def test_a_result_is_not_overwritten(run, scan_folder, tmp_path):
    """With --force neither, where a run of ours didn't write it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    for force in ((), ("--force",)):
        done = run("maps", scan_folder, "-o", tmp_path / "out", "--registration", "none", *force)
        assert (done.code, "new or an empty folder" in done.err) == (6, True), done.err
    assert {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "out").iterdir()} == {"thesis.txt": "precious"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 3, "nowhere"),
        (["EMPTY"], 3, "no"),
        (["TEXT"], 3, "no"),
        (["SCAN", "--model", "missing.safetensors"], 4, "missing.safetensors"),
        (["SCAN", "--model", "TEXT/a.txt"], 4, "not a model"),
        (["SCAN", "--model", "x", "--method", "csvd"], 1, "exclude each other"),
        (["SCAN", "--method", "magic"], 1, "choose among"),
        (["SCAN", "--registration", "magic"], 1, "choose among"),
        (["SCAN", "--aif", "1,2"], 1, "x,y,z"),
        (["SCAN", "--aif", "1,2,99"], 1, "outside the series"),
        (["SCAN", "--mask", "TEXT/a.txt"], 4, "a.txt"),
        (["SCAN", "--device", "tpu"], 1, "unknown device"),
    ],
)
def test_mistakes_end_with_one_message(run, scan_folder, tmp_path, arguments, code, message):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "TEXT").mkdir()
    (tmp_path / "TEXT" / "a.txt").write_text("no images here")
    places = {"SCAN": scan_folder, "EMPTY": tmp_path / "EMPTY", "TEXT": tmp_path / "TEXT"}
    given = [str(places[a]) if a in places else str(tmp_path / a) if a.startswith("TEXT/") else a for a in arguments]
    if "registration" not in " ".join(given):
        given += ["--registration", "none"]
    done = run("maps", *given, "-o", tmp_path / "out")
    assert (done.code, message in done.err) == (code, True), done.err
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_single_volume_is_no_series(run, scan_folder, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    for file in sorted(scan_folder.iterdir())[:3]:
        shutil.copy(file, folder)
    done = run("maps", folder, "-o", tmp_path / "out")
    assert done.code == 3
    assert "1 time point(s) of 3 slice(s): no perfusion series" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_strict_refuses_what_quality_control_flags(run, tmp_path):
    """A scan that ends at the peak of the bolus: a warning, and under --strict an error with its own code."""
    from scenes import write_scan

    write_scan(tmp_path / "cut", n=64, n_slices=3, frames=24)
    loose = run("maps", tmp_path / "cut", "-o", tmp_path / "a", "--registration", "none")
    assert loose.code == 0, loose.err
    assert "warning" in loose.err
    assert json.loads((tmp_path / "a" / "run.json").read_text(encoding="utf-8"))["quality"]["flags"]
    strict = run("maps", tmp_path / "cut", "-o", tmp_path / "b", "--registration", "none", "--strict")
    assert strict.code == 7
    assert not (tmp_path / "b").exists()


def test_a_truncated_file_is_named(run, scan_folder, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(scan_folder, folder)
    victim = sorted(folder.iterdir())[17]
    victim.write_bytes(victim.read_bytes()[:-500])
    done = run("maps", folder, "-o", tmp_path / "out", "--registration", "none")
    assert done.code == 4
    assert victim.name in done.err
    assert not (tmp_path / "out").exists()


def test_a_missing_image_is_named(run, scan_folder, tmp_path):
    folder = tmp_path / "gap"
    shutil.copytree(scan_folder, folder)
    sorted(folder.iterdir())[17].unlink()
    done = run("maps", folder, "-o", tmp_path / "out", "--registration", "none")
    assert done.code == 5
    assert "slice" in done.err
    assert not (tmp_path / "out").exists()


def test_permeability_of_a_first_pass_is_refused(run, scan_folder, tmp_path):
    """One message, and no folder is left."""
    done = run("maps", scan_folder, "-o", tmp_path / "out", "--registration", "none", "--permeability")
    assert done.code != 0
    assert "the scan lasts 39 s: leakage needs 90 s at least, 150 s to be trusted" in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()
