# %% [markdown]
# # A million samples
#
# Kernel ridge on as many curves as you like: `python examples/million_samples.py 1000000`. Without a number it takes a
# million where torch sees a GPU and 20,000 on a CPU. The kernel is never stored; samples stream past the centres.

# %%
import sys
import time

import torch

from ctp_torch import ops
from ctp_torch.models import KernelRidge, RandomForest

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000 if device.type == "cuda" else 20_000
print(f"{n:,} samples on {device}")

# %% [markdown]
# Curves of known perfusion behind arteries drawn from the literature, each divided by its artery's area.

# %%
times = torch.arange(60.0, dtype=torch.float64)
generator = torch.Generator().manual_seed(0)
curves, flows = [], []
while sum(map(len, curves)) < n:
    one = ops.simulate_curves(times, arteries=20, voxels=1000, generator=generator)
    area = one.aif.clamp_min(0).sum(-1)[:, None, None]
    curves.append((100 * one.curves / area).flatten(0, 1).float())
    flows.append(one.cbf.flatten().log().float())
X, y = torch.cat(curves)[:n].to(device), torch.cat(flows)[:n].to(device)


def timed(what, work):
    """The result of some work, with its seconds printed."""
    started = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    print(f"{what}: {time.perf_counter() - started:.2f} s")
    return result


# %% [markdown]
# Nystroem centres; the width by the median distance of a few samples.

# %%
few = X[torch.randperm(n, generator=generator)[:500].to(device)]
gamma = float(1 / torch.cdist(few, few).square().median())
half = n // 2
model = timed("fit", lambda: KernelRidge(alpha=0.1, gamma=gamma, n_centers=500).fit(X[:half], y[:half]))
timed("predict", lambda: model.predict(X[half:]))
print("R2 of log CBF", round(model.score(X[half:], y[half:]), 3))

# %% [markdown]
# Half the curves fitted, half predicted. A forest on the same, at most 100,000 of them:

# %%
some = slice(0, min(half, 100_000))
forest = timed("forest", lambda: RandomForest(20, max_depth=20).fit(X[some], y[some]))
print("R2 of log CBF", round(forest.score(X[half:], y[half:]), 3))

# %% [markdown]
# The product of a kernel with weights, never stored, is one call:

# %%
weights = torch.randn(500, 2, device=device)
product = timed("kernel product", lambda: ops.gaussian_kernel_matmul(X, few, weights, gamma=gamma))
print(tuple(product.shape))
