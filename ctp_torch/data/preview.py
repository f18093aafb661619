"""What a notebook shows of a series or of maps: a line of facts and a small grey picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["as_html", "grey_png"]

_SLICES = 6
_WIDTH = 128
"""Of one slice [pixels]."""


def grey_png(rows: Sequence[tuple[Tensor, tuple[float, float]]]) -> bytes:
    """Volumes ``(z, y, x)`` as rows of at most six slices, each with the values that are black and white, as PNG."""
    import torch
    from PIL import Image

    strips = []
    for volume, (low, high) in rows:
        depth = len(volume)
        shown = volume.detach().cpu()[[round(i) for i in torch.linspace(0, depth - 1, min(_SLICES, depth)).tolist()]]
        grey = ((shown.float().nan_to_num() - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8)
        step = max(1, grey.shape[2] // _WIDTH)
        strips.append(torch.cat(list(grey[:, ::step, ::step]), dim=1))
    picture = io.BytesIO()
    Image.fromarray(torch.cat(strips).numpy()).save(picture, format="PNG")
    return picture.getvalue()


def as_html(words: str, picture: bytes) -> str:
    """The words over the picture, for a notebook."""
    data = base64.b64encode(picture).decode()
    return f'<div><code>{html.escape(words)}</code><br><img alt="" src="data:image/png;base64,{data}"></div>'
