"""Pictures (PNG, JPEG, TIFF ... or a coloured DICOM image) as RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import UnreadableFileError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_picture", "write_picture"]


def read_picture(path: str | Path) -> Tensor:
    """A picture ``(y, x, 3)`` uint8; transparent pixels become black.

    Raises
    ------
    UnreadableFileError
        when the file isn't there or is no picture
    """
    import numpy as np
    import torch
    from PIL import Image

    from ctp_torch.io.limits import dicom_damage, parsing

    picture_damage: tuple[type[Exception], ...] = (*dicom_damage(), SyntaxError, Image.DecompressionBombError)
    path = Path(path)
    try:
        with path.open("rb") as stream:
            is_dicom = stream.read(132)[128:] == b"DICM"
        if is_dicom:
            with parsing(path):
                return _dicom_picture(path)
        with Image.open(path) as image:
            colored = image.convert("RGBA")
            black = Image.new("RGBA", colored.size, (0, 0, 0, 255))
            return torch.from_numpy(np.array(Image.alpha_composite(black, colored).convert("RGB")))
    except picture_damage as error:
        raise UnreadableFileError(f"{path} can't be read as a picture ({error}); save it again as PNG") from error


def _dicom_picture(path: Path) -> Tensor:
    """An RGB (or YBR) DICOM image."""
    import torch
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    dataset = dcmread(path)
    if dataset.get("SamplesPerPixel") != 3:
        raise UnreadableFileError(
            f"{path} is no coloured picture ({dataset.get('PhotometricInterpretation', 'no pixels')})"
        )
    return torch.from_numpy(pixel_array(dataset).copy())


def write_picture(path: Path, picture: Tensor) -> None:
    """A picture ``(y, x, 3)`` or ``(y, x)`` uint8 as PNG."""
    from PIL import Image

    Image.fromarray(picture.cpu().numpy()).save(path, format="PNG")
