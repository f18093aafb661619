# %% [markdown]
# # First maps
#
# A scan becomes maps, lesions and files. Give the folder of your own scan, `python examples/first_maps.py DICOM_FOLDER`;
# without one a digital patient is drawn (`pip install ".[demo]"`), small, so that it takes seconds.

# %%
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import ctp_torch
from ctp_torch.phantom import render_patient

source = sys.argv[1] if len(sys.argv) > 1 else render_patient(31, 4, size=64, frames=50).series
analysis = ctp_torch.analyse(source)
print(analysis.scan)
print(analysis.maps)

# %% [markdown]
# What is doubtful stands in `warnings`; look there before you look at the maps.

# %%
for warning in analysis.warnings:
    print("-", warning)

# %% [markdown]
# Everything hangs on the arterial input. It should rise early, stand high above the tissue, and be narrow.

# %%
times = analysis.scan.series.times[:, 0]
plt.plot(times, analysis.aif.curve, label="artery")
plt.plot(times, analysis.vof.curve, label="vein")
plt.xlabel("s")
plt.ylabel("HU over baseline")
plt.legend()

# %% [markdown]
# The maps, each over its display range. In a notebook `analysis.maps` shows itself.

# %%
z = analysis.maps.mask.shape[0] // 2
figure, axes = plt.subplots(1, 4, figsize=(12, 3))
for axis, name in zip(axes, ("cbv", "cbf", "mtt", "tmax"), strict=True):
    quantity = ctp_torch.QUANTITIES[name]
    low, high = quantity.display
    axis.imshow(analysis.maps[name][z], cmap="jet", vmin=low, vmax=high)
    axis.set_title(f"{quantity.label} [{quantity.unit}]")
    axis.axis("off")

# %% [markdown]
# Lesions, and files: NIfTI, a page to look through, a record of the run. All of them, or none.

# %%
print(analysis.lesions if analysis.lesions is not None else analysis.no_volumes)
with tempfile.TemporaryDirectory() as folder:
    place = ctp_torch.write_analysis(analysis, Path(folder) / "maps")
    print(sorted(path.name for path in place.iterdir() if path.is_file()))
