"""What a page holds, read back number by number: the loops that the browser runs, written down once more."""

import base64
import json
import re
import zlib

import numpy as np


def unpacked(stream, shape, axes):
    """A packed int16 array: byte planes to codes to differences, summed along the axes in reverse order, mod 2^16."""
    raw = zlib.decompress(stream)
    size = len(raw) // 2
    codes = [raw[i] + 256 * raw[size + i] for i in range(size)]
    values = np.array([code // 2 if code % 2 == 0 else -(code + 1) // 2 for code in codes], dtype=np.int64)
    values = values.reshape(shape)
    for axis in reversed(axes):
        values = np.cumsum(values, axis=axis)
    return ((values + 32768) % 65536 - 32768).astype(np.int64)


def stack(chunk, axes):
    """All slices of a chunk ``(z, ...)`` as whole steps."""
    return np.stack([unpacked(stream, chunk.shape, axes) for stream in chunk.streams])


def embedded(page, number, key):
    """The streams of a chunk as they stand in a page."""
    header = json.loads(re.findall(r'<script type="application/json" class="patient">(.*?)</script>', page)[number])
    text = re.search(rf'<script type="application/octet-stream" id="p{number}/{key}">(.*?)</script>', page)[1]
    data, streams = base64.b64decode(text), []
    for length in header["lengths"][key]:
        streams.append(data[:length])
        data = data[length:]
    assert not data
    return streams


def pooled(image, height, width):
    """Mean over the pixels that each cell touches: rows floor(i n / h) to ceil((i + 1) n / h), columns alike."""
    rows, columns = image.shape
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            top, bottom = i * rows // height, -(-(i + 1) * rows // height)
            left, right = j * columns // width, -(-(j + 1) * columns // width)
            out[i, j] = image[top:bottom, left:right].astype(np.float64).mean()
    return out
