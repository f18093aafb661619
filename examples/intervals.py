# %% [markdown]
# # Intervals
#
# A model that says between which values the truth lies. Each training patient is left out in turn; from how wrong the
# others' model is, bands follow that hold for new patients *of that kind*: nine tenths of the voxels in nine of ten of them
# with ten patients or more. Here four digital patients allow three quarters.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import ctp_torch
from ctp_torch.io import read_volume

work = Path(tempfile.mkdtemp())
ctp = [sys.executable, "-m", "ctp_torch", "-q"]
size = ["--patients", "5", "--train", "4", "--size", "64", "--seed", "31"]
subprocess.run([*ctp, "phantom", "cohort", str(work / "cohort"), *size], check=True)
how = "--model krr --features arterial --target truth --samples 800 --intervals 0.75 --keep-all".split()
subprocess.run([*ctp, "train", str(work / "cohort"), "-o", str(work / "bands.safetensors"), *how], check=True)

# %% [markdown]
# The patient that tests, mapped by that model: each map comes with a lower and an upper end.

# %%
patient = ctp_torch.read_cohort(work / "cohort").of("test")[0]
settings = ctp_torch.MapSettings(model=work / "bands.safetensors", lesions=False)
analysis = ctp_torch.analyse(patient.series_path, settings)
print(analysis.maps)
for warning in analysis.warnings:
    print("-", warning)

# %% [markdown]
# Does the truth lie between them? The promise is for three voxels of four in three patients of four: one patient alone may
# miss it, and can't tell whether it holds.

# %%
z = analysis.maps.mask.shape[0] // 2
for name in ("cbf", "tmax"):
    true = read_volume(patient.truth_path / f"{name}.nii.gz")[0]
    inside = analysis.maps.mask & (true > 0)
    low, high = analysis.maps[f"{name}_lower"], analysis.maps[f"{name}_upper"]
    share = float(((true >= low) & (true <= high))[inside].float().mean())
    print(f"{name}: the truth lies in the band in {share:.0%} of the voxels")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, end in zip(axes, ("cbf_lower", "cbf", "cbf_upper"), strict=True):
    axis.imshow(analysis.maps[end][z], cmap="jet", vmin=0, vmax=60)
    axis.set_title(end)
    axis.axis("off")
