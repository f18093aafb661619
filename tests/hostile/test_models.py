"""Model files, thresholds, curves, masks and numbers that a stranger may hand over: used right, or refused by name."""

import json
import sys

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scenes import write_scan

from ctp_torch.cli import console, main
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import CTPError, ModelMismatchError, UnreadableFileError
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds
from ctp_torch.models import KernelRidge, LinearRegression, RandomForest, Ridge, load_model
from ctp_torch.pipeline.recipe import Recipe
from hostile.mutations import bounded

N_FEATURES, N_TARGETS = 6, 2
RECIPE = Recipe(
    N_FEATURES, 1.5, {"cbf": (0.0, 100.0), "tmax": (0.0, 12.0)}, feature_mean=(0.5,) * 6, feature_sd=(2.0,) * 6
)
MODELS = {
    "linear": LinearRegression,
    "ridge": Ridge,
    "krr": lambda: KernelRidge(alpha=0.5, gamma=0.3),
    "rf": lambda: RandomForest(3, max_depth=4),
}
X = torch.rand(40, N_FEATURES, generator=torch.Generator().manual_seed(0))
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good model file of every class."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        make().fit(X, X[:, :N_TARGETS] * 100).save(folder / name, metadata={"recipe": RECIPE.as_metadata()})
    return folder


def changed(path, out, change_header=None, change_tensors=None):
    """The model file with header and tensors changed: functions that change them in place, or give others."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        text = file.metadata()["ctp_torch"]
    tensors = load_file(path)
    header = json.loads(text)
    text = json.dumps(header if change_header is None else change_header(header) or header)
    if change_tensors is not None:
        tensors = change_tensors(tensors) or tensors
    save_file({k: v.contiguous() for k, v in tensors.items()}, out, metadata={"ctp_torch": text})
    return out


def put(*path, to):
    """A change: the entry at that path becomes something else."""

    def change(header):
        for key in path[:-1]:
            header = header[key]
        header[path[-1]] = to

    return change


def spoiled(name, value):
    """A change: the first number of a tensor."""
    return lambda tensors: tensors[name].view(-1)[:1].fill_(value) and None


@pytest.mark.parametrize("name", MODELS)
def test_good_files_load(files, name):
    model = load_model(files / name)
    assert model.n_targets == N_TARGETS
    assert Recipe.of(model) == RECIPE
    assert model.predict(X).isfinite().all()


STATES = {
    "class a list": put("class", to=["Ridge"]),
    "class a table": put("class", to={}),
    "format a word": put("format", to="1"),
    "header a list": lambda h: [1, 2],
    "parameters null": put("parameters", to=None),
    "state null": put("state", to=None),
    "features a word": put("state", "n_features_in_", to="6"),
    "features true": put("state", "n_features_in_", to=True),
    "features below": put("state", "n_features_in_", to=-6),
    "features others": put("state", "n_features_in_", to=7),
    "single of two": put("state", "single_target_", to=True),
    "single a word": put("state", "single_target_", to="no"),
    "metadata null": put("state", "metadata_", to=None),
    "a name of ours": put("state", "predict", to=1),
}


@pytest.mark.parametrize("case", STATES)
@pytest.mark.parametrize("name", MODELS)
def test_headers_that_no_fit_writes(files, name, case, tmp_path):
    """Mutation seen red: `check_state` not called."""
    if name == "rf" and case == "features others":
        pytest.skip("trees ask for some of the features; the recipe tells how many there are")
    with bounded(), pytest.raises(ModelMismatchError, match=r"damaged|holds a|train"):
        load_model(changed(files / name, tmp_path / "m", STATES[case]))


def test_a_header_of_headers(files, tmp_path):
    tensors = load_file(files / "ridge")
    for text in ("[" * 100_000, '{"format":' * 100_000, "{}", "", "null", '{"format": 1e999}'):
        save_file(tensors, tmp_path / "m", metadata={"ctp_torch": text})
        with bounded(), pytest.raises(ModelMismatchError, match="damaged"):
            load_model(tmp_path / "m")


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_needed_finite_and_of_its_shape(files, name, tmp_path):
    """Mutations seen red: isfinite left out of `check_floats`; the shape left out."""
    for tensor, values in load_file(files / name).items():
        lost = {k: v for k, v in load_file(files / name).items() if k != tensor}
        for change in (
            lambda _, lost=lost: lost,
            lambda t, tensor=tensor: t | {tensor: t[tensor].flatten()[:-1]},
            lambda t, tensor=tensor: t | {tensor: t[tensor][None] if tensor != "roots_" else t[tensor][0]},
            lambda t, tensor=tensor: t | {tensor: t[tensor].new_zeros(0)},
            lambda t, tensor=tensor: t | {tensor: t[tensor].to(torch.complex64)},
            *(spoiled(tensor, v) for v in ((NAN, INF, -INF) if values.is_floating_point() else ())),
        ):
            with bounded(), pytest.raises(ModelMismatchError, match="the model is damaged"):
                load_model(changed(files / name, tmp_path / "m", change_tensors=change))


@pytest.mark.parametrize(
    ("tensor", "value"),
    [("left_", 0), ("left_", 10**6), ("left_", -1), ("feature_", N_FEATURES), ("roots_", 10**6), ("roots_", -1)],
)
def test_a_walk_down_a_tree_ends(files, tensor, value, tmp_path):
    """Mutation seen red: ``child > parent`` not asked for; prediction then walks in a circle for ever."""
    with bounded(), pytest.raises(ModelMismatchError, match="a tree leads out"):
        load_model(changed(files / "rf", tmp_path / "m", change_tensors=spoiled(tensor, value)))


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [("ridge", "alpha", NAN), ("ridge", "alpha", -1), ("ridge", "alpha", "much"), ("krr", "gamma", NAN),
     ("krr", "gamma", []), ("krr", "alpha", [1, 2, 3]), ("krr", "gamma", "x"), ("krr", "solver", 5),
     ("krr", "tolerance", -1),
     ("rf", "n_estimators", -1), ("rf", "max_depth", INF), ("rf", "splitter", None), ("rf", "seed", 0.5)],
)  # fmt: skip
def test_parameters_that_cant_be_meant(files, name, parameter, value, tmp_path):
    with bounded(), pytest.raises(ModelMismatchError):
        load_model(changed(files / name, tmp_path / "m", put("parameters", parameter, to=value)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("frames", 7), ("frames", 0), ("frames", NAN), ("frames", INF), ("dt", NAN), ("dt", 0), ("dt", -1), ("dt", INF),
     ("targets", {}), ("targets", {"cbf": [0, 1]}), ("targets", {"cbf": [0, NAN], "tmax": [0, 1]}),
     ("targets", {"cbf": [5, 1], "tmax": [0, 1]}), ("targets", {"cbf": 3, "tmax": 4}), ("targets", [1, 2]),
     ("targets", {"CBX": [0, 1], "tmax": [0, 1]}), ("window", [0, NAN]), ("window", [600, 0]), ("window", []),
     ("median_size", 0), ("median_size", 2), ("median_size", -3), ("feature_mean", [0.5]), ("feature_mean", [NAN] * 6),
     ("feature_sd", [0.0] * 6), ("feature_sd", [INF] * 6), ("feature_sd", None), (None, None), (None, []), (None, "x")],
)  # fmt: skip
def test_recipes_that_no_training_writes(files, key, value, tmp_path):
    """Mutations seen red: each line of `Recipe._check_numbers` and `_check_model`."""
    path = ("state", "metadata_", "recipe", key) if key else ("state", "metadata_", "recipe")
    with bounded(), pytest.raises(ModelMismatchError):
        Recipe.of(load_model(changed(files / "ridge", tmp_path / "m", put(*path, to=value))))


# --- thresholds


@pytest.mark.parametrize("field", [f for f in Thresholds.__dataclass_fields__ if f != "method"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_thresholds_are_finite(field, value, tmp_path):
    """Mutation seen red: the loop over all fields left out; NaN in volumes passes every comparison."""
    with pytest.raises(CTPError, match=r"fraction|finite|threshold|must be"):
        Thresholds(**{field: value})
    (tmp_path / "t.json").write_text(json.dumps({"thresholds": {field: value}}))
    with pytest.raises(UnreadableFileError, match=r"t\.json"):
        read_thresholds(tmp_path / "t.json")


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "null", "[]", "{}", '{"thresholds": []}', '{"thresholds": {"tmax": "6"}}',
             '{"thresholds": {"tmax": 11}}', '{"thresholds": {"method": 5}}',
             '{"thresholds": {"tmax": 1' + "0" * 400 + "}}",
             "\xff"],
)  # fmt: skip
def test_thresholds_files_that_are_none(text, tmp_path):
    (tmp_path / "t.json").write_bytes(text.encode("latin1"))
    with bounded(), pytest.raises(UnreadableFileError, match=r"t\.json"):
        read_thresholds(tmp_path / "t.json")
    with pytest.raises(CTPError):
        read_thresholds(tmp_path)


# --- what the API takes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16, torch.int32, torch.bool, torch.uint8])
def test_hu_of_other_types_are_refused_by_name(dtype):
    with pytest.raises(TypeError, match=rf"must be float32 or float64, got {dtype}"):
        CTPSeries(
            torch.zeros(2, 1, 2, 2, dtype=dtype), torch.tensor([[0.0], [1.0]]), Geometry((1, 2, 2), (1.0, 1.0, 1.0))
        )


@pytest.mark.parametrize(
    "times", [[0.0, NAN], [0.0, INF], [1.0, 0.0], [0.0, 0.0], [0.0, 2e-9], [0.0, 1500.0], [0.0, 0.02, 0.04, 900.0]]
)
def test_times_of_a_series_rise_and_leave_no_lags_without_end(times):
    """Mutation seen red: the number of lags not looked at; 2 ns then run for minutes, 1,500 s ask for 7 GB."""
    hu = torch.zeros(len(times), 1, 2, 2)
    with pytest.raises(ValueError, match=r"no numbers|must rise|apart"):
        CTPSeries(hu, torch.tensor(times)[:, None], Geometry((1, 2, 2), (1.0, 1.0, 1.0)))


# --- the command line


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan") / "dicom"
    write_scan(folder, n=64, n_slices=2, frames=24)
    return folder


def refused(capsys, monkeypatch, *arguments):
    """Exit code and message of a command that must end without a traceback."""
    monkeypatch.setattr(sys, "argv", ["ctp-torch", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    console.settings.debug = console.settings.quiet = False
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("command", "option"),
    [("maps", "--sigma-mm"), ("maps", "--slab-mm"), ("maps", "--dt"), ("maps", "--max-unpacked"), ("lesion", "--rcbf"),
     ("lesion", "--tmax"), ("lesion", "--slice-mm"), ("calibrate", "--sigma-mm"), ("lut", "--max-distance"),
     ("train", "--alpha")],
)  # fmt: skip
def test_options_are_finite(command, option, number, capsys, monkeypatch, tmp_path):
    """Mutation seen red: the guard taken out of `FiniteGroup`; infinity passes every lower bound."""
    code, err = refused(capsys, monkeypatch, command, tmp_path, "-o", tmp_path / "out", option, number)
    assert code in (1, 2)
    assert option in err
    assert not (tmp_path / "out").exists()


CURVES = {
    "times that fall": ("0,0\n2,5\n1,9\n", "must rise"),
    "a time of no number": ("0,0\nnan,5\n2,9\n", "finite"),
    "a value of no number": ("1\nnan\n3\n", "finite"),
    "a value without end": ("1\ninf\n3\n", "finite"),
    "words": ("a b\nc d\n", "not a curve"),
    "nothing": ("", "not a curve"),
    "rows unlike": ("1\n1 2\n", "not a curve"),
    "too few": ("1\n2\n3\n", "the curve has 3 numbers"),
}


@pytest.mark.parametrize("case", CURVES)
def test_curves_of_an_artery(ct, case, capsys, monkeypatch, tmp_path):
    (tmp_path / "aif.txt").write_text(CURVES[case][0])
    code, err = refused(
        capsys, monkeypatch, "maps", ct, "-o", tmp_path / "out", "--registration", "none", "--aif", tmp_path / "aif.txt"
    )
    assert code in (1, 4)
    assert CURVES[case][1] in err
    assert not (tmp_path / "out").exists()


def test_a_mask_is_one_volume(ct, capsys, monkeypatch, tmp_path):
    """Mutation seen red: the number of dimensions not asked for."""
    nibabel.save(nibabel.Nifti1Image(np.ones((64, 64, 2, 3), "u1"), np.eye(4)), tmp_path / "mask.nii.gz")
    code, err = refused(capsys, monkeypatch, "maps", ct, "-o", tmp_path / "out", "--mask", tmp_path / "mask.nii.gz")
    assert code == 1
    assert "a mask is one volume, this file holds 3" in err
