"""A whole patient, from 360 files of 512 x 512 to four maps on disk, beside a plain script of the usual libraries.

``python benchmarks/patient.py`` makes two digital patients (or takes a cohort by ``--cohort``), trains kernel ridge
with 2,000 centres on 25,000 curves of the first with both libraries, and times what happens to the second: reading,
median filter, rigid registration, prediction of the brain, writing. Ours is the command ``ctp-torch maps``, quality
control and montage included. The script is a pydicom loop, scipy's median, SimpleITK (Mattes mutual information, 3
levels, 5 % of the voxels), scikit-learn's Nystroem and Ridge, and NIfTI by SimpleITK. Each run has a process of its
own; imports are not counted, training neither.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import matplotlib.figure  # noqa: F401  imported here so that no run pays for it
import numpy as np
import pydicom
import SimpleITK as sitk
import torch
from common import in_child, write  # the folder of this file is on the path
from scipy.ndimage import median_filter
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from ctp_torch import cli, models, ops, pipeline  # noqa: F401
from ctp_torch.cli.maps import maps
from ctp_torch.io import read_cohort, read_series
from ctp_torch.learning.training import draw, prepare_all
from ctp_torch.pipeline.recipe import Recipe

MAPS = ("cbv", "cbf", "mtt", "tmax")


def train(cohort, folder, n_samples, n_centers):
    """Both models, fitted to the same curves."""
    patients = list(read_cohort(cohort).of("train"))
    ranges = read_cohort(cohort).ranges
    files = list(prepare_all(patients, folder / "prepared", quantities=MAPS, registration=ops.register_rigid))
    data = draw(files, n_samples)
    recipe = Recipe(data.curves.shape[1], data.dt, {name: ranges[name] for name in MAPS}, "torch")
    ours = models.KernelRidge(solver="nystrom", n_centers=n_centers).fit(data.curves, data.targets)
    ours.save(folder / "ours.safetensors", metadata={"recipe": recipe.as_metadata()})
    limits = np.array([recipe.targets[name] for name in MAPS])
    np.savez(folder / "training.npz", curves=data.curves, targets=data.targets, limits=limits, centers=n_centers)


def run_ours(series, folder):
    """``ctp-torch maps``; seconds by stage."""
    maps(Path(series), Path(folder) / "ours", model=Path(folder) / "ours.safetensors", device="cpu", force=True)
    return json.loads((Path(folder) / "ours" / "run.json").read_text(encoding="utf-8"))["timings_s"]


def run_peers(series, folder, n_registered):
    """The script; seconds by stage. Registration of ``n_registered`` frames is timed and scaled to all of them."""
    with np.load(Path(folder) / "training.npz") as known:
        nystroem = Nystroem(gamma=8.0, n_components=int(known["centers"]), random_state=0)
        model = make_pipeline(nystroem, Ridge(alpha=0.1)).fit(known["curves"], known["targets"])
        limits = known["limits"]
    laps, last = {}, time.perf_counter()

    def lap(name):
        nonlocal last
        now = time.perf_counter()
        laps[name], last = round(now - last, 3), now

    images = []
    for path in Path(series).iterdir():
        d = pydicom.dcmread(path)
        hu = d.pixel_array.astype(np.float32) * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept)
        images.append((d.AcquisitionDate + d.AcquisitionTime, float(d.ImagePositionPatient[2]), hu, d))
    images.sort(key=lambda one: one[:2])
    n_slices = len({one[1] for one in images})
    hu = np.stack([one[2] for one in images]).reshape(-1, n_slices, *images[0][2].shape)
    rows, columns = (float(v) for v in images[0][3].PixelSpacing)
    spacing = (images[1][1] - images[0][1], rows, columns)
    lap("read")
    filtered = np.stack([[median_filter(image, 3, mode="reflect") for image in frame] for frame in hu])
    lap("median filter")
    n = min(n_registered or len(hu), len(hu))
    motion = ops.register_simpleitk(torch.from_numpy(hu[:n]), spacing, 5)
    lap("motion estimate")
    laps["motion estimate"] *= len(hu) / n
    motion = motion._replace(**{k: torch.cat([v, v[-1:].expand(len(hu) - n, 3)]) for k, v in _poses(motion).items()})
    aligned = [filtered[0]]
    for rotation, translation, frame in zip(motion.rotation[1:], motion.translation[1:], filtered[1:], strict=True):
        image = sitk.GetImageFromArray(frame)
        image.SetSpacing(spacing[::-1])
        pose = sitk.Euler3DTransform()
        pose.SetComputeZYX(True)
        pose.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        pose.SetRotation(*np.deg2rad(rotation.numpy()).tolist())
        pose.SetTranslation(translation.tolist())
        aligned.append(sitk.GetArrayFromImage(sitk.Resample(image, image, pose, sitk.sitkLinear, -1000.0)))
    features = np.clip(np.stack(aligned), 0, 600) / np.float32(600)
    lap("motion correction")
    brain = pipeline.locate(read_series(series)).brain.numpy()  # the same pixels for both, not counted
    last = time.perf_counter()
    predicted = np.concatenate([model.predict(part) for part in np.array_split(features[:, brain].T, 32)])
    lap("maps")
    (Path(folder) / "peer").mkdir(exist_ok=True)
    for i, (name, (low, high)) in enumerate(zip(MAPS, limits, strict=True)):
        volume = np.zeros(brain.shape, np.float32)
        volume[brain] = low + np.clip(predicted[:, i], 0, 255) / 255 * (high - low)
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing(spacing[::-1])
        sitk.WriteImage(image, Path(folder) / "peer" / f"{name}.nii.gz")
    lap("write")
    return laps


def _poses(motion):
    """The parts of a motion that have one row a frame."""
    return {"rotation": motion.rotation, "translation": motion.translation}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, help="with a training and a test patient; made when not given")
    parser.add_argument("--work", type=Path, help="folder to keep the models in between runs")
    parser.add_argument("--centers", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=25_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--registered", type=int, default=0, help="frames the script registers, then scaled; 0: all")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or Path(scratch)
        cohort = args.cohort
        if cohort is None:
            from ctp_torch.learning.teacher import console_teacher
            from ctp_torch.phantom.cohort import CohortDesign, write_cohort

            cohort, design = folder / "cohort", CohortDesign(patients=2, train=1, size=512, seed=5)
            list(write_cohort(cohort, design, teacher=console_teacher()))
        if not (folder / "training.npz").exists():
            train(cohort, folder, args.samples, args.centers)
        series = read_cohort(cohort).of("test")[0].series_path
        runs = {"ctp_torch": (run_ours,), **({"peers": (run_peers, args.registered)} if args.peers else {})}
        rows = {name: [] for name in runs}
        for _ in range(args.repeats):
            for name, run in runs.items():
                found = in_child(run[0], str(series), str(folder), *run[1:], timeout_s=900.0)
                if name == "peers":  # without its training, with registration scaled
                    found["seconds"] = sum(found["result"].values())
                rows[name].append(found)
                print(name, rows[name][-1], flush=True)
        agreement = None
        if args.peers:
            agreement = compare(folder)
        write(
            "patient",
            {"frames_registered_by_peers": args.registered or "all", "runs": rows, "correlation_of_maps": agreement},
        )


def compare(folder):
    """Correlation of the maps of both sides, over pixels where both are above 0."""
    found = {}
    for name in MAPS:
        a, b = (sitk.GetArrayFromImage(sitk.ReadImage(folder / side / f"{name}.nii.gz")) for side in ("ours", "peer"))
        both = (a > 0) & (b > 0)
        found[name] = round(float(np.corrcoef(a[both], b[both])[0, 1]), 4)
    return found


if __name__ == "__main__":
    main()
