"""Public data sets as published, and plain folders, train and evaluate end to end with no conversion."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from oracles.heads import RANGES, head
from pydicom import dcmread
from typer.testing import CliRunner

from ctp_torch import ops
from ctp_torch.cli import app
from ctp_torch.errors import IncompleteSeriesError, NoSeriesError, UnreadableFileError
from ctp_torch.io import (
    StudyHeader,
    read_cohort,
    read_series,
    read_target_indices,
    write_cohort_index,
    write_color_maps,
    write_ct_series,
    write_nifti_series,
    write_volume,
)
from ctp_torch.io.color.luts import read_lut


def colored(maps, lut):
    """RGB maps, black where the map is 0."""
    table = read_lut(lut)
    out = {}
    for name, values in maps.items():
        low, high = RANGES[name]
        index = ((values - low) / (high - low)).clamp(0, 1).mul(len(table) - 1).round().to(torch.int16)
        out[name] = ops.apply_lut(torch.where(values == 0, -1, index), table)
    return out


def own(folder, lut="jet"):
    for k in range(4):
        series, maps = head(k)
        header = StudyHeader(patient=f"P{k}")
        write_ct_series(series, folder / f"p{k}" / "ct", header=header)
        write_color_maps(
            colored(maps, lut), RANGES, read_lut(lut), series.geometry, folder / f"p{k}" / "maps", header=header
        )
    write_cohort_index(folder, {f"p{k}": "test" if k == 3 else "train" for k in range(4)}, RANGES, {"seed": 7})


def plain(folder):
    """A folder for each patient, everything in it; maps coloured by another table."""
    for k in range(3):
        series, maps = head(k)
        header = StudyHeader(patient=f"P{k}")
        write_ct_series(series, folder / f"patient {k}" / "a", header=header)
        picture = colored(maps, "siemens")
        write_color_maps(
            picture, RANGES, read_lut("siemens"), series.geometry, folder / f"patient {k}" / "b", header=header
        )


def isles24(folder):
    for k in range(3):
        series, maps = head(k)
        home = folder / f"sub-stroke{k + 1:04d}" / "ses-01"
        stem = f"{home.parent.name}_ses-01"
        write_nifti_series(home / f"{stem}_ctp.nii.gz", series)
        for name, values in maps.items():
            write_volume(home / "perfusion-maps" / f"{stem}_{name}.nii.gz", values, series.geometry)


def isles24_split(folder):
    """As in the archive: raw data and derivatives apart, maps in the space of the plain CT with a series in it."""
    for k in range(3):
        series, maps = head(k)
        subject = f"sub-stroke{k + 1:04d}"
        raw = folder / "train" / "raw_data" / subject / "ses-01" / f"{subject}_ses-01_ctp.nii.gz"
        moved = folder / "train" / "derivatives" / subject / "ses-01"
        write_nifti_series(raw, head(k, size=40)[0])
        write_nifti_series(moved / f"{subject}_ses-01_space-ncct_ctp.nii.gz", series)
        for name, values in maps.items():
            path = moved / "perfusion-maps" / f"{subject}_ses-01_space-ncct_{name}.nii.gz"
            write_volume(path, values, series.geometry)


def isles24_names(folder):
    """``rawdata`` and ``sub-strokecase0001/ses-0001``, derivatives under shorter names; no JSON, masks beside the maps,
    and a stray one."""
    for k in range(3):
        series, maps = head(k)
        long, short = f"sub-strokecase{k + 1:04d}", f"sub-stroke{k + 1:04d}"
        raw = folder / "rawdata" / long / "ses-0001" / f"{long}_ses-0001_ctp.nii.gz"
        moved = folder / "derivatives" / short / "ses-01"
        write_nifti_series(raw, head(k, size=40)[0])
        path = write_nifti_series(moved / f"{short}_ses-01_space-ncct_ctp.nii.gz", series)
        path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
        for name, values in maps.items():
            path = moved / "perfusion-maps" / f"{short}_ses-01_space-ncct_{name}.nii.gz"
            write_volume(path, values, series.geometry)
        for name in ("lvo-msk", "cow-msk"):
            write_volume(moved / f"{short}_ses-01_{name}.nii.gz", maps["cbf"] > 40, series.geometry)
        lesion = folder / "derivatives" / short / "ses-02" / f"{short}_ses-02_space-ncct_lesion-msk.nii.gz"
        write_volume(lesion, maps["tmax"] > 2.5, series.geometry)
    write_volume(folder / "derivatives" / "sub-stroke0142_ses-02_lesion-msk.nii", maps["cbf"] > 40, series.geometry)


def isles18(folder):
    """SMIR names, uncompressed, time in the fifth dimension, no unit of time in the header."""
    for k in range(3):
        series, maps = head(k)
        case = folder / "TRAINING" / f"case_{k + 9}"
        affine = np.diag([-series.geometry.spacing[2], -series.geometry.spacing[1], series.geometry.spacing[0], 1])
        affine[:3, 3] = [-series.geometry.origin[0], -series.geometry.origin[1], series.geometry.origin[2]]
        for name, values in {"4DPWI": series.hu.permute(3, 2, 1, 0)[:, :, :, None], **maps}.items():
            array = values if name == "4DPWI" else values.permute(2, 1, 0)
            word = {"tmax": "Tmax"}.get(name, name.upper())
            stem = f"SMIR.Brain.XX.O.CT_{word}.{345000 + 10 * k}"
            (case / stem).mkdir(parents=True)
            nibabel.save(nibabel.Nifti1Image(array.numpy(), affine), case / stem / f"{stem}.nii")


def unitobrain(folder):
    """DICOM maps of one channel in folders named by quantity, beside raw and registered series."""
    for k in range(3):
        series, maps = head(k)
        header = StudyHeader(patient=f"MOL-{k:03d}")
        name = f"MOL-{k + 1:03d}"
        write_ct_series(replace(series, hu=series.hu + 5), folder / name, header=header)
        write_ct_series(series, folder / f"{name}_Registered_Filtered_3mm_20HU", header=header)
        for quantity, values in maps.items():
            volume = replace(series, hu=values[None], times=series.times[:1])
            home = folder / f"{name}_Registered_Filtered_3mm_20HU_Maps" / f"NLR_{quantity.upper()}"
            for path in write_ct_series(volume, home, header=header, slope=0.001, intercept=0.0):
                image = dcmread(path)
                image.ImageType, image.SeriesDescription = ["DERIVED", "SECONDARY", "AXIAL"], "perfusion"
                image.save_as(path)


LAYOUTS = [own, plain, isles24, isles24_split, isles24_names, isles18, unitobrain]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layout_trains_and_evaluates(layout, tmp_path):
    """Mutations seen red: nearest colour without the table asked for; the raw series of UniToBrain and of ISLES'24."""
    layout(tmp_path / "cohort")
    lut = "siemens" if layout is plain else "jet"
    cohort = read_cohort(tmp_path / "cohort", lut=lut)
    assert {p.split for p in cohort.patients} == {"train", "test"}
    first = cohort.patients[0]
    known, maps = head(0)
    series = read_series(first.series_path, dt=first.dt)
    torch.testing.assert_close(series.hu, known.hu, rtol=0, atol=0.51)
    torch.testing.assert_close(series.times, known.times, atol=1e-5, rtol=0)
    assert series.geometry.matches(known.geometry, tolerance_mm=0.01)
    index = read_target_indices(first.maps_path, ("cbf", "tmax"), series.geometry, first.ranges, lut=first.lut)
    wanted = torch.stack([(maps[n] / RANGES[n][1] * 255).clamp(0, 255).round() for n in ("cbf", "tmax")])
    inside = torch.stack([maps[n] != 0 for n in ("cbf", "tmax")])
    assert (index[inside] - wanted[inside]).abs().max() <= 1
    run, model = CliRunner(), str(tmp_path / "m.safetensors")
    options = ["--lut", lut]
    trained = run.invoke(app, ["train", str(cohort.path), "-o", model, "--model", "linear", "--samples", "300",
                               "--registration", "none", "--keep-all", *options])  # fmt: skip
    assert trained.exit_code == 0, trained.output
    scored = run.invoke(app, ["evaluate", str(cohort.path), "--model", model, "-o", str(tmp_path / "s"),
                              "--test-samples", "100", *options])  # fmt: skip
    assert scored.exit_code == 0, scored.output
    assert "linear" in (tmp_path / "s" / "scores.csv").read_text(encoding="utf-8")


def test_a_lesion_against_a_known_one(tmp_path):
    """On a finer grid, as masks are released. Mutation seen red: the mask read on its own grid, without its place."""
    from oracles.lesions import drawn, head_ct

    maps, _, slow = drawn()
    for name in ("cbf", "tmax"):
        write_volume(tmp_path / "m" / f"{name}.nii.gz", maps[name], maps.geometry)
    write_volume(tmp_path / "m" / "baseline.nii.gz", head_ct(maps), maps.geometry)
    z, y, x = maps.geometry.shape
    fine = replace(
        maps.geometry, shape=(z, 2 * y, x), spacing=(8.0, maps.geometry.spacing[1] / 2, maps.geometry.spacing[2])
    )
    fine = replace(fine, origin=maps.geometry.position(0, -0.25, 0))
    write_volume(tmp_path / "known.nii.gz", slow.repeat_interleave(2, dim=1), fine)
    run = CliRunner()
    args = ["lesion", str(tmp_path / "m"), "-o", str(tmp_path / "o"), "--against"]
    done = run.invoke(app, [*args, str(tmp_path / "known.nii.gz")])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "o" / "lesion.json").read_text(encoding="utf-8"))["against"]
    assert told["hypoperfusion"]["dice"] > 0.9
    assert told["hypoperfusion"]["known_ml"] == pytest.approx(
        float(slow.sum()) * maps.geometry.voxel_volume_ml, rel=0.02
    )
    assert told["core"]["dice"] < told["hypoperfusion"]["dice"]
    assert "Dice" in done.output
    elsewhere = replace(fine, origin=(900.0, 0.0, 0.0))
    write_volume(tmp_path / "far.nii.gz", slow.repeat_interleave(2, dim=1), elsewhere)
    refused = run.invoke(app, [*args[:3], str(tmp_path / "p"), "--against", str(tmp_path / "far.nii.gz")])
    assert "lies outside the maps" in str(refused.exception)


def test_scalar_maps_on_another_grid_are_brought_to_that_of_the_series(tmp_path):
    series, maps = head()
    z, y, x = series.geometry.shape
    wide = torch.nn.functional.pad(maps["cbv"], (3, 3, 3, 3))
    origin = series.geometry.position(0, -3, -3)
    grid = replace(series.geometry, shape=(z, y + 6, x + 6), origin=origin)
    write_volume(tmp_path / "a_cbv.nii.gz", wide, grid)
    index = read_target_indices(tmp_path, ("cbv",), series.geometry, RANGES)
    wanted = (maps["cbv"] / 8 * 255).round().clamp(0, 255).masked_fill(maps["cbv"] == 0, -1)
    torch.testing.assert_close(index[0].float(), wanted)


def test_a_missing_map_and_maps_elsewhere_are_named(tmp_path):
    series, maps = head()
    write_volume(tmp_path / "a_cbv.nii.gz", maps["cbv"], series.geometry)
    with pytest.raises(IncompleteSeriesError, match=r"no tmax map \(found: cbv\)"):
        read_target_indices(tmp_path, ("cbv", "tmax"), series.geometry, RANGES)
    elsewhere = replace(series.geometry, origin=(5000.0, 0.0, 0.0))
    with pytest.raises(IncompleteSeriesError, match="outside the series"):
        read_target_indices(tmp_path, ("cbv",), elsewhere, RANGES)


def test_coloured_maps_on_other_slices_are_refused(tmp_path):
    series, maps = head()
    write_color_maps(colored(maps, "jet"), RANGES, read_lut("jet"), series.geometry, tmp_path / "m")
    moved = replace(series.geometry, origin=(-100.0, -100.0, 15.0))
    with pytest.raises(IncompleteSeriesError, match="doesn't lie on the slices"):
        read_target_indices(tmp_path / "m", ("cbv",), moved, RANGES)


def test_own_index_round_trip(tmp_path):
    write_cohort_index(tmp_path, {"a": "train", "b": "reject", "c": "test"}, RANGES, {"seed": 3})
    (tmp_path / "a" / "truth").mkdir(parents=True)
    cohort = read_cohort(tmp_path / "cohort.json")
    assert [(p.name, p.split) for p in cohort.patients] == [("a", "train"), ("b", "reject"), ("c", "test")]
    assert cohort.of("test")[0].series_path == tmp_path / "c" / "ct"
    assert cohort.patients[0].truth_path == tmp_path / "a" / "truth"
    assert cohort.patients[1].truth_path is None
    assert cohort.ranges == RANGES
    assert cohort.settings == {"seed": 3}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: "no json", "broken or foreign"),
        (lambda d: d | {"format": 99}, "format 99, this version reads up to 1"),
        (lambda d: {"some": "thing"}, "broken or foreign"),
        (lambda d: d | {"patients": [{"name": "../x", "split": "train"}]}, "broken or foreign"),
        (lambda d: d | {"patients": [{"name": "a", "split": "both"}]}, "broken or foreign"),
        (lambda d: d | {"patients": [{"name": "a", "split": "test"}] * 2}, "names a patient twice"),
        (lambda d: d | {"ranges": {"cbv": [1]}}, "broken or foreign"),
    ],
)
def test_broken_index_is_refused(change, match, tmp_path):
    index = write_cohort_index(tmp_path, {"a": "train"}, RANGES)
    changed = change(json.loads(index.read_text(encoding="utf-8")))
    index.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(UnreadableFileError, match=match):
        read_cohort(tmp_path)


def test_no_cohort(tmp_path):
    with pytest.raises(NoSeriesError, match="doesn't exist"):
        read_cohort(tmp_path / "nowhere")
    with pytest.raises(NoSeriesError, match="is no cohort"):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("splits", "ranges", "match"),
    [
        ({"a": "both"}, {}, "split of a"),
        ({"x/y": "train"}, {}, "plain folder name"),
        ({"a": "train"}, {"nn": (0, 1)}, "unknown quantities nn"),
    ],
)
def test_index_refuses_nonsense(splits, ranges, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        write_cohort_index(tmp_path, splits, ranges)
