"""Random damage to elements and bytes ends in the scan, a warning, what the header says now, or one clear message."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.mutations import CONTAINERS, KINDS, Mutation, damage, outcome, read


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The good scan in every container, and as it is read."""
    folder = tmp_path_factory.mktemp("good")
    for name, make in CONTAINERS.items():
        make(folder / name)
    return folder, {name: read(name, folder / name) for name in CONTAINERS}


@pytest.mark.slow
def test_damage_ends_well(scans, request, tmp_path):
    """No traceback, no hang, no flood: ``--hostile-examples 20000`` tries more than the 300 of every run.

    Mutation seen red: `dicom_damage` without any one of its kinds.
    """
    folder, good = scans

    @settings(
        max_examples=request.config.getoption("--hostile-examples"),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.builds(Mutation, st.sampled_from(list(CONTAINERS)), st.sampled_from(KINDS), st.integers(0, 2**32 - 1)))
    def damaged(mutation):
        work = tmp_path / "work"
        shutil.copytree(folder / mutation.container, work)
        try:
            damage(mutation, work)
            outcome(lambda: read(mutation.container, work), good[mutation.container])
        finally:
            shutil.rmtree(work)

    damaged()
