"""Motion of a series to a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.report.canvas import Box, Canvas

if TYPE_CHECKING:
    from ctp_torch.ops import RigidMotion

__all__ = ["motion_picture", "write_motion"]

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

    moved = mean_displacement(motion).tolist()
    rows = ["\t".join(_COLUMNS)]
    for frame, (turn, shift) in enumerate(zip(motion.rotation.tolist(), motion.translation.tolist(), strict=True)):
        values = [times[frame], *turn, *shift, moved[frame]]
        rows.append("\t".join([str(frame), *(f"{value:.4f}" for value in values)]))
    (folder / "motion.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "motion.png").write_bytes(motion_picture(motion, times).png())


def motion_picture(motion: RigidMotion, times: Sequence[float]) -> Canvas:
    """Rotation and translation over time, three curves each."""
    canvas = Canvas(760, 460, paper="white", ink="#222222")
    names = {"x (left)": "#c0392b", "y (back)": "#2e8b57", "z (up)": "#1f5fa8"}
    for row, (values, label) in enumerate(
        ((motion.rotation, "rotation [°]"), (motion.translation, "translation [mm]"))
    ):
        box = Box(76, 24 + row * 210, 560, 170)
        curves = {name: (values[:, i].tolist(), color) for i, (name, color) in enumerate(names.items())}
        canvas.plot(box, times, curves, label=label)
    canvas.text(76 + 280, 24 + 210 + 170 + 24, "time [s]", anchor="ma")
    canvas.legend(740, 40, names)
    return canvas
