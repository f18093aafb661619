"""What is said about the frames a deconvolution worked on agrees with what it does."""

import sys
from functools import partial

import pytest

from ctp_torch import ops
from ctp_torch.cli.choices import METHODS
from ctp_torch.ops.time_route import NEED_EVEN_FRAMES


@pytest.mark.parametrize("name", METHODS)
def test_the_list_agrees_with_the_code(name):
    """A method is in the list exactly if its file resamples to an even grid."""
    resamples = hasattr(sys.modules[getattr(ops, name).__module__], "on_regular_grid")
    assert resamples == (name in NEED_EVEN_FRAMES)


@pytest.mark.parametrize(
    ("method", "dt", "uneven", "said"),
    [
        (ops.csvd, 1.0, False, "as acquired"),
        (ops.csvd, 2.0, False, "resampled every 1 s"),
        (ops.csvd, 1.0, True, "resampled every 1 s"),
        (partial(ops.csvd, step=None), 2.0, False, "as acquired"),
        (partial(partial(ops.csvd, threshold=0.2), step=0.5), 1.0, False, "resampled every 0.5 s"),
        (ops.vascular_model, 2.0, True, "exact"),
        (ops.vascular_model, 2.0, False, "as acquired"),
    ],
)
def test_routes(method, dt, uneven, said):
    assert ops.time_route(method, dt, uneven=uneven).startswith(said)
