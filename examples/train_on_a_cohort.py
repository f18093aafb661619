# %% [markdown]
# # Train on a cohort
#
# A cohort is a folder of patients, each with its series and the maps that a console made of it. Give yours,
# `python examples/train_on_a_cohort.py COHORT`; without one four small digital patients are drawn.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import ctp_torch
from ctp_torch.models import KernelRidge

work = Path(tempfile.mkdtemp())
cohort = Path(sys.argv[1]) if len(sys.argv) > 1 else work / "cohort"
if not cohort.exists():
    size = ["--patients", "4", "--train", "3", "--size", "64", "--frames", "50", "--seed", "31"]
    subprocess.run([sys.executable, "-m", "ctp_torch", "-q", "phantom", "cohort", str(cohort), *size], check=True)
print(ctp_torch.read_cohort(cohort))

# %% [markdown]
# Every patient is prepared once and kept; a curve and its targets are an item of a torch dataset. Targets are colour
# indices 0..255 of the teacher's maps, as in the paper.

# %%
train = ctp_torch.Curves(cohort, work / "prepared", quantities=("cbv", "cbf"))
test = ctp_torch.Curves(cohort, work / "prepared", quantities=("cbv", "cbf"), split="test")
print(len(train), "training curves of", train.curves.shape[1], "frames")

# %% [markdown]
# Kernel ridge with the paper's penalty and width, on a share of the pixels.

# %%
every = max(1, len(train) // 2000)
model = KernelRidge(alpha=0.1, gamma=8.0).fit(train.curves[::every], train.targets[::every])
print("R2 on training patients", round(model.score(train.curves, train.targets), 3))
print("R2 on a patient it never saw", round(model.score(test.curves, test.targets), 3))

# %% [markdown]
# The same by the command line, with the file that `ctp-torch maps --model` takes:
# `ctp-torch train COHORT -o krr.safetensors --model krr`, then `ctp-torch evaluate COHORT -m krr.safetensors -o scores`.

# %%
predicted = model.predict(test.curves)
plt.figure(figsize=(4, 4))
plt.plot(test.targets[::7, 1], predicted[::7, 1], ".", markersize=1)
plt.xlabel("teacher's rCBF [colour index]")
plt.ylabel("predicted")
