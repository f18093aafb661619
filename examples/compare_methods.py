# %% [markdown]
# # Methods on a tile
#
# The tile phantom knows the truth: tiles of 7 delays (rows) and 7 transit times (columns), of one blood volume. Every
# deconvolution sees the same noisy curves and the same artery.

# %%
import matplotlib.pyplot as plt

from ctp_torch import ops
from ctp_torch.phantom import CLINICAL, render_tiles

series, truth = render_tiles(bolus=CLINICAL, noise_hu=1.0, dt=1.0, frames=60)
enhancement = ops.enhancement(series.hu[:, 2:3], 5)[:, 0]  # (time, y, x) of the slice with CBV 3
inside = truth.maps["cbv"][2] > 0  # (y, x)
curves = enhancement[:, inside].T[::16]  # (voxels, time); one pixel of sixteen is enough here
true_flow = truth.maps["cbf"][2][inside][::16]  # mL/100 g/min
print(f"{len(curves)} curves of {curves.shape[1]} frames")

# %% [markdown]
# A slope of 1 and an error of 0 would be right. What each does: "Deconvolution" among the explanations.

# %%
methods = (ops.csvd, ops.osvd, ops.ssvd, ops.tikhonov, ops.vascular_model, ops.max_slope)
figure, axes = plt.subplots(2, 3, figsize=(9, 6), sharex=True, sharey=True)
for method, axis in zip(methods, axes.flat, strict=True):
    flow = method(curves, truth.aif, 1.0).cbf
    x, y = true_flow - true_flow.mean(), flow - flow.mean()
    slope = float((x * y).sum() / (x * x).sum())
    error = float((flow - true_flow).abs().mean())
    print(f"{method.__name__:15} slope {slope:.2f}, mean error {error:.1f} mL/100 g/min")
    axis.plot(true_flow, flow, ".", markersize=1)
    axis.plot([0, 80], [0, 80], "k--", linewidth=0.5)
    axis.set_title(method.__name__)
figure.supxlabel("true CBF [mL/100 g/min]")
figure.supylabel("CBF as told")

# %% [markdown]
# The same with the narrow artery of textbooks (`TEXTBOOK`) flatters all of them: a wide bolus is what hospitals have.
