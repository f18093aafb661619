"""The same head on 0.5 mm slices and on 5 mm slices 8 mm apart: the lesions found don't depend on how it was cut.

`benchmarks/thick_and_thin.py` does it with 320 slices, motion correction and more patients.
"""

from dataclasses import replace

import pytest
import torch

from ctp_torch import CTPSeries, Geometry, ops, pipeline
from ctp_torch.data.slabs import slabs
from ctp_torch.lesions.find import find_lesions
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.phantom import ScanVariant, render_patient

LIMITS = Thresholds(
    rcbf=0.65, rcbv=0.7, mirror_mm=6.0, tmax=9.5, reduced_tmax=5.0, reduced_rcbf=0.75, severe_tmax=11.0, usual_tmax=2.9
)
"""As calibrated for block-circulant SVD, smoothed inside by 2 mm, on other patients."""


def volumes(n_slices, thickness, spacing):
    """Core and penumbra [mL] as measured, and as true."""
    variant = ScanVariant(slice_thickness_mm=thickness, slice_spacing_mm=spacing)
    scan, truth = render_patient(7700, 1, size=128, motion="none", slices=n_slices, variant=variant)
    ml = scan.geometry.voxel_volume_ml
    series = slabs(replace(scan, hu=scan.hu.round_()))
    maps = pipeline.deconvolve(series, ops.csvd, smoothing="inside")
    found = find_lesions(maps, baseline=pipeline.locate(series).baseline, thresholds=LIMITS).volumes()
    return (found["core_ml"], found["penumbra_ml"]), (int(truth.core.sum()) * ml, int(truth.penumbra.sum()) * ml)


@pytest.mark.slow
def test_lesions_do_not_depend_on_how_a_head_is_sliced():
    """Mutation seen red: delay without reduced flow enough at the lower Tmax."""
    (thick, true), (thin, _) = volumes(6, 5.0, 8.0), volumes(96, 0.5, 0.5)
    for one, other, expected in zip(thick, thin, true, strict=True):
        assert one == pytest.approx(other, rel=0.1)
        assert one == pytest.approx(expected, abs=20.0)


def test_thin_slices_are_aligned_and_averaged_frame_by_frame():
    """To the numbers of aligning all slices first. Mutation seen red: the first frame's motion for all."""
    generator = torch.Generator().manual_seed(0)
    hu = torch.rand(5, 24, 20, 18, generator=generator) * 100
    times = torch.arange(5, dtype=torch.float64)[:, None].expand(-1, 24).clone()
    series = CTPSeries(hu, times, Geometry((24, 20, 18), (1.0, 1.0, 1.0)))
    move = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    motion = ops.RigidMotion(move[0], move[1], torch.ones(6, dtype=torch.bool))
    scan = pipeline.prepare(series, registration=motion)
    whole = slabs(pipeline.scan.align(series, motion))
    assert torch.equal(scan.series.hu, whole.hu)
    assert scan.series.geometry == whole.geometry
    assert scan.series.provenance.motion == whole.provenance.motion
    assert scan.series.provenance.slabs == whole.provenance.slabs
