"""Make the pictures of the README from one digital patient: ``python benchmarks/pictures.py [--size 320]``."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

from ctp_torch import ops, pipeline
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.phantom import render_patient

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SEED, INDEX = 0, 4  # a left M1 occlusion with an old infarct on the right
SLICES = (0, 2, 4)


def panels(rows, columns, name, draw):
    """A black sheet of pictures; ``draw(axes, row, column)`` fills each."""
    plt.switch_backend("Agg")
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 3 * rows), squeeze=False, facecolor="black")
    for row in range(rows):
        for column in range(columns):
            axes[row][column].axis("off")
            draw(axes[row][column], row, column)
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    figure.savefig(FOLDER / name, dpi=80, facecolor="black")
    plt.close(figure)


def label(axes, text):
    """White letters in the upper left corner."""
    axes.text(0.02, 0.98, text, color="white", fontsize=9, va="top", transform=axes.transAxes)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=320)
    patient = render_patient(SEED, INDEX, size=parser.parse_args().size)
    hu, truth = patient.series.hu, patient.truth
    peak = int(truth.aif.argmax())

    def scan(axes, row, column):
        axes.imshow(hu[(0, peak)[row], SLICES[column]], cmap="gray", vmin=0, vmax=80)
        if column == 0:
            label(axes, ("before the bolus", "arterial peak")[row])

    panels(2, len(SLICES), "head_ct.png", scan)

    maps = pipeline.deconvolve(pipeline.prepare(patient.series, slab_mm=0.0), ops.csvd)
    names = ("cbv", "cbf", "mtt", "tmax")

    def painted(axes, row, column):
        name, z = names[column], SLICES[1 + row]
        axes.imshow(ops.paint(maps[name], QUANTITIES[name].display, maps.mask)[z])
        if row == 0:
            label(axes, f"{QUANTITIES[name].label} [{QUANTITIES[name].unit}]")

    panels(2, len(names), "teacher_maps.png", painted)

    def known(axes, row, column):
        name, z = ("cbv", "cbf", "tmax", "core")[column], SLICES[1]
        if name == "core":
            axes.imshow(hu[0, z], cmap="gray", vmin=0, vmax=80)
            for mask, colour in ((truth.core[z], "red"), (truth.penumbra[z], "lime")):
                if bool(mask.any()):
                    axes.contour(mask.float(), levels=[0.5], colors=colour, linewidths=1)
            label(axes, "core, penumbra")
            return
        axes.imshow(ops.paint(truth.maps[name], QUANTITIES[name].display, truth.brain)[z])
        label(axes, f"true {QUANTITIES[name].label}")

    panels(1, 4, "truth.png", known)


if __name__ == "__main__":
    main()
