# %% [markdown]
# # A physics student on your scan
#
# A network that learned from simulated curves of known perfusion comes with the package. It needs no cohort and takes any
# frames. `per_scan` goes further: kernel ridge on curves simulated behind this scan's own artery, with probabilities.

# %%
import sys

import matplotlib.pyplot as plt

import ctp_torch
from ctp_torch import ops
from ctp_torch.phantom import render_patient

patient = None if len(sys.argv) > 1 else render_patient(31, 4, size=64, frames=50)
series = ctp_torch.read_series(sys.argv[1]) if patient is None else patient.series
scan = ctp_torch.prepare(series)  # once, for all that follows

# %%
shown = {
    "csvd": ctp_torch.deconvolve(scan, ops.csvd),
    "physics": ctp_torch.analyse(scan, ctp_torch.MapSettings(model="physics", lesions=False)).maps,
    "per scan": ctp_torch.analyse(scan, ctp_torch.MapSettings(model="per-scan", lesions=False)).maps,
}
z = scan.series.geometry.shape[0] // 2
figure, axes = plt.subplots(2, 3, figsize=(9, 6))
for (name, maps), column in zip(shown.items(), axes.T, strict=True):
    column[0].imshow(maps["cbf"][z], cmap="jet", vmin=0, vmax=60)
    column[1].imshow(maps["tmax"][z], cmap="jet", vmin=0, vmax=12)
    column[0].set_title(f"{name}: CBF, Tmax")
for axis in axes.flat:
    axis.axis("off")

# %% [markdown]
# Of a digital patient the truth is known: mean errors in the brain.

# %%
if patient is not None:
    for name, maps in shown.items():
        errors = {}
        for quantity in ("cbf", "tmax"):
            true = patient.truth.maps[quantity]
            inside = maps.mask & (true > 0)
            errors[quantity] = round(float((maps[quantity] - true)[inside].abs().mean()), 1)
        print(f"{name:9} CBF {errors['cbf']} mL/100 g/min, Tmax {errors['tmax']} s")

# %% [markdown]
# The student that belongs to the scan says how sure it is: the probability of Tmax above 6 s.

# %%
plt.figure(figsize=(4, 3))
plt.imshow(shown["per scan"]["p_late"][z], vmin=0, vmax=100)
plt.colorbar(label="P(Tmax > 6 s) [%]")
plt.axis("off")
