"""What is said about the frames a deconvolution worked on agrees with what it does."""

import sys
from functools import partial

import pytest

from ctp_torch import ops
from ctp_torch.cli.choices import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_what_is_said_agrees_with_the_code(name):
    """Uneven frames are resampled exactly by those methods whose file calls for the even grid."""
    method = getattr(ops, name)
    resamples = hasattr(sys.modules[method.__module__], "on_regular_grid")
    assert ops.time_route(method, 1.0, uneven=True).startswith("resampled" if resamples else "exact")


@pytest.mark.parametrize(
    ("method", "dt", "uneven", "said"),
    [
        (ops.csvd, 1.0, False, "as acquired"),
        (ops.csvd, 2.0, False, "resampled every 1 s"),
        (ops.csvd, 1.0, True, "resampled every 1 s"),
        (partial(ops.csvd, step=None), 2.0, False, "as acquired"),
        (partial(ops.csvd, threshold=0.2, step=0.5), 1.0, False, "resampled every 0.5 s"),
        (partial(ops.csvd, step=None), 2.0, True, "resampled every 2 s"),
        (ops.vascular_model, 2.0, True, "exact"),
        (ops.vascular_model, 2.0, False, "as acquired"),
    ],
)
def test_routes(method, dt, uneven, said):
    assert ops.time_route(method, dt, uneven=uneven).startswith(said)
