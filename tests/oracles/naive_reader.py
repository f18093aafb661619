"""The reader that everybody writes first, wrong wherever data are not plain."""

from types import SimpleNamespace

import numpy as np
from pydicom import dcmread


def read(folder):
    """Files in the order of Instance Number, the first one's rescale, Acquisition Time as a number, z from the file."""
    images = [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    images.sort(key=lambda d: int(d.InstanceNumber))
    first = images[0]
    places = sorted({float(d.ImagePositionPatient[2]) for d in images})
    n = len(places)
    pixels = np.stack([d.pixel_array for d in images]).reshape(-1, n, first.Rows, first.Columns)
    times = np.array([_seconds(d.AcquisitionTime) for d in images]).reshape(-1, n)
    spacing = (places[1] - places[0], *(float(s) for s in first.PixelSpacing))
    return SimpleNamespace(
        hu=pixels.astype("float32") * float(first.RescaleSlope) + float(first.RescaleIntercept),
        times=times - times[0, 0],
        geometry=SimpleNamespace(origin=tuple(float(p) for p in first.ImagePositionPatient), spacing=spacing),
    )


def _seconds(text):
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
