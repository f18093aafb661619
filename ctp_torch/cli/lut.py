"""``ctp-torch lut``: a coloured map in a picture back to numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import console
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ctp_torch.io.color.colorbar import ColorBar

__all__ = ["lut"]


def lut(
    image: Annotated[Path, typer.Argument(help="A picture of a map: PNG, JPEG, TIFF, or a coloured DICOM image.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    table: Annotated[
        str, typer.Option("--lut", help="bar (read it from the picture), jet, siemens, siemens-time, asist, or a file.")
    ] = "bar",
    bar: Annotated[
        str | None,
        typer.Option(
            help="Which colour bar: its number from the left; or on one of our own map sheets its label, as rCBF.",
            metavar="N|LABEL",
        ),
    ] = None,
    limits: Annotated[
        str, typer.Option("--range", help="What the ends of the colours mean: LOW,HIGH.", metavar="LOW,HIGH")
    ] = "0,1",
    crop: Annotated[
        str | None, typer.Option(help="Part of the picture, in pixels: LEFT,TOP,RIGHT,BOTTOM.", metavar="L,T,R,B")
    ] = None,
    max_distance: Annotated[
        float, typer.Option(min=0.0, help="A pixel further than this from every colour is an overlay [grey levels].")
    ] = 40.0,
    force: console.ForceOption = False,
) -> None:
    """Turn a coloured map back into numbers, and find what is drawn over it.

    Writes values.nii.gz (NaN where there is no colour), residual.nii.gz (distance to the nearest colour), found.png
    (values in grey, overlays in red), lut.csv and lut.json.

    Example: ctp-torch lut screenshot.png -o numbers --range 0,100
    """
    from ctp_torch.io.color.inversion import invert_colors, read_off
    from ctp_torch.io.color.picture import read_picture

    low, high = _numbers("--range", limits, 2)
    console.claim(output, force=force, inputs=(image, table))
    picture = read_picture(image)
    colors, bars = _colors(picture, table, bar)
    left, top, right, bottom = _box(crop, picture)
    inverted = invert_colors(picture, colors, max_distance=max_distance)
    for rows, columns in bars:  # a bar is no part of the map
        inverted.index[slice(*rows), slice(*columns)] = -1
        inverted.residual[slice(*rows), slice(*columns)] = 0
    index, residual = inverted.index[top:bottom, left:right], inverted.residual[top:bottom, left:right]
    values = read_off(index, len(colors), low, high)
    summary = {
        "lut": table,
        "colors": len(colors),
        "range": [low, high],
        "pixels": index.numel(),
        "background": int((index == -1).sum()),
        "overlay": int((index == -2).sum()),
        "mean_residual": round(float(residual[index >= 0].mean()), 3) if bool((index >= 0).any()) else None,
        "bars": [{"rows": list(rows), "columns": list(columns)} for rows, columns in bars],
    }
    with console.delivered(output) as folder:
        _write(folder, index, values, residual, colors, summary)
    inside = int((index >= 0).sum())
    console.say(f"{inside:,} pixels read with {len(colors)} colours, {summary['overlay']:,} overlay pixels found")
    console.say(f"wrote {output}")


def _colors(
    picture: Tensor, table: str, bar: str | None
) -> tuple[Tensor, list[tuple[tuple[int, int], tuple[int, int]]]]:
    """The table of colours, and where the bars of the picture stand."""
    from ctp_torch.io.color.colorbar import find_color_bars
    from ctp_torch.io.color.luts import LUT_NAMES, read_lut

    bars = find_color_bars(picture)
    places = [(one.rows, one.columns) for one in bars]
    if table != "bar":
        return read_lut(table), places
    if not bars:
        raise CTPError(f"the picture shows no colour bar; name its table with --lut {'|'.join(LUT_NAMES)}|FILE")
    return _chosen(picture, bars, bar).lut, places


def _chosen(picture: Tensor, bars: Sequence[ColorBar], bar: str | None) -> ColorBar:
    """The bar of that number or label."""
    from ctp_torch.io.color.labels import read_label

    if len(bars) == 1 and bar is None:
        return bars[0]
    if bar is not None and bar.isdigit() and 1 <= int(bar) <= len(bars):
        return bars[int(bar) - 1]
    labels = [read_label(picture, one) for one in bars]
    for one, label in zip(bars, labels, strict=True):
        if bar is not None and label.lower() == bar.lower():
            return one
    where = "; ".join(
        f"{k}{f' ({label})' if label else ''}: rows {one.rows[0]}-{one.rows[1]}, "
        f"columns {one.columns[0]}-{one.columns[1]}"
        for k, (one, label) in enumerate(zip(bars, labels, strict=True), start=1)
    )
    asked = "" if bar is None else f"--bar {bar}: "
    how = "--bar N or --bar LABEL" if any(labels) else "--bar N"
    raise CTPError(f"{asked}the picture shows {len(bars)} colour bar(s); choose one with {how} ({where})")


def _numbers(option: str, text: str, count: int) -> list[float]:
    """So many numbers separated by commas."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise CTPError(f"{option} {text!r}: give {count} finite numbers separated by commas")
    return numbers


def _box(crop: str | None, picture: Tensor) -> tuple[int, int, int, int]:
    """The part of the picture asked for."""
    height, width = picture.shape[:2]
    if crop is None:
        return 0, 0, width, height
    left, top, right, bottom = (int(n) for n in _numbers("--crop", crop, 4))
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise CTPError(f"--crop {crop}: must lie within the picture, 0,0,{width},{height}")
    return left, top, right, bottom


def _write(
    folder: Path, index: Tensor, values: Tensor, residual: Tensor, colors: Tensor, summary: dict[str, object]
) -> None:
    """The results as files."""
    import torch

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io import write_volume
    from ctp_torch.io.color.picture import write_picture

    grid = Geometry((1, *index.shape), (1.0, 1.0, 1.0))
    write_volume(folder / "values.nii.gz", values[None], grid)
    write_volume(folder / "residual.nii.gz", residual[None], grid)
    grey = (index.clamp_min(0).float() * 255 / (len(colors) - 1)).round().to(torch.uint8)
    shown = grey[..., None].repeat(1, 1, 3)
    shown[index == -2] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    write_picture(folder / "found.png", shown)
    lines = ["index,R,G,B", *(f"{k},{r},{g},{b}" for k, (r, g, b) in enumerate(colors.tolist()))]
    (folder / "lut.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "lut.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
