"""Motion of a series to a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ctp_torch.ops import RigidMotion

__all__ = ["motion_figure", "write_motion"]

_COLUMNS = ("frame", "time_s", "rx_deg", "ry_deg", "rz_deg", "tx_mm", "ty_mm", "tz_mm", "displacement_mm")


def write_motion(folder: Path, motion: RigidMotion, times: Sequence[float]) -> None:
    """``motion.tsv`` (one row a frame) and ``motion.png``.

    Parameters
    ----------
    folder
        exists; files of the same names are replaced
    motion
        about the patient's axes, LPS: x_frame = R (x_ref - c) + c + t, R = Rz Ry Rx, c the centre of the volume
    times
        of the frames [s]
    """
    from ctp_torch.ops import mean_displacement
    from ctp_torch.report.figures import to_png

    moved = mean_displacement(motion).tolist()
    rows = ["\t".join(_COLUMNS)]
    for frame, (turn, shift) in enumerate(zip(motion.rotation.tolist(), motion.translation.tolist(), strict=True)):
        values = [times[frame], *turn, *shift, moved[frame]]
        rows.append("\t".join([str(frame), *(f"{value:.4f}" for value in values)]))
    (folder / "motion.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "motion.png").write_bytes(to_png(motion_figure(motion, times)))


def motion_figure(motion: RigidMotion, times: Sequence[float]) -> Figure:
    """Rotation and translation over time, three curves each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    parts = ((upper, motion.rotation, "rotation [°]"), (lower, motion.translation, "translation [mm]"))
    names = ("x (left)", "y (back)", "z (up)")
    for axis, values, label in parts:
        for i, (name, color) in enumerate(zip(names, ("#c0392b", "#2e8b57", "#1f5fa8"), strict=True)):
            axis.plot(list(times), values[:, i].tolist(), color=color, label=name, linewidth=1.4)
        axis.axhline(0.0, color="0.7", linewidth=0.6)
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*upper.get_legend_handles_labels(), frameon=False, ncols=3, loc="outside upper center")
    figure.align_ylabels()
    lower.set_xlabel("time [s]")
    return figure
