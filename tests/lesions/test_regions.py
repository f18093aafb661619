"""Regions found on heads whose place in the template is known, and numbers counted by hand."""

import math

import pytest
import torch

from ctp_torch.data.anatomy import Anatomy
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.lesions.overlap import dice
from ctp_torch.lesions.regions import Regions, _positions, _template, find_regions, region_rows
from ctp_torch.ops.head.atlas import HeadFit, _sampled, fit_head

GRID = Geometry((8, 64, 64), (8.0, 3.6, 3.6), (-113.0, -113.0, -10.0))


def placed(points, *, turn_deg=6.0, size=1.06, shift=(3.0, 12.0, 16.0), bend_mm=4.0):
    """Template positions of scan positions: turned, larger, shifted, and bent by a field that isn't a lattice's."""
    a = math.radians(turn_deg)
    matrix = points.new_tensor([[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0], [0.0, 0.06, 1.0]])
    q = points @ matrix.T / size + points.new_tensor(shift)
    return q + bend_mm * torch.sin(points.roll(1, dims=1) / 28.0)


def made(geometry=GRID, **options):
    """A scan of the template head as `placed`, with noise and a CT's shell of bone, and the true positions."""
    template = _template()
    points = _positions(torch.arange(math.prod(geometry.shape)), geometry)
    q = placed(points, **options)
    volume = torch.stack([template.head.hu, template.head.table])
    hu, table = _sampled(volume, (q - points.new_tensor(template.head.origin)) / template.head.step)
    noise = torch.randn(len(hu), generator=torch.Generator().manual_seed(0))
    image = torch.where(table < 0, hu + 2.0 * noise, torch.where(table < 7, 1200.0, 30.0))
    image = torch.where(table < 13, image, -1000.0)
    shaped = [part.view(geometry.shape) for part in (image, table < 13, table < -2)]
    return Anatomy(*shaped, 5), q


def known(q, scheme):
    template = _template()
    index = ((q - q.new_tensor(template.head.origin)) / template.head.step).round().long()
    x, y, z = (index[:, k].clamp(0, n - 1) for k, n in enumerate(reversed(template.labels.shape[1:])))
    return template.labels[list(template.names).index(scheme), z, y, x]


@pytest.mark.slow
def test_a_bent_head_is_laid_onto_the_template():
    """Mutations seen red: the affine part alone; x and z of the template exchanged; heights not searched."""
    anatomy, q = made()
    regions = find_regions(anatomy, GRID)
    assert regions.warnings == ()
    inside = anatomy.brain.flatten()
    off = (regions.fit.positions(_positions(inside.nonzero().squeeze(1), GRID)) - q[inside]).norm(dim=1)
    assert float(off.mean()) < 3.5
    for scheme, least in (("lobes", 0.75), ("territories", 0.75), ("aspects", 0.7)):
        truth = known(q, scheme).view(GRID.shape) * anatomy.brain
        for label, name in enumerate(regions.names[scheme], start=1):
            if int((truth == label).sum()) > 60:
                assert dice(regions.labels[scheme] == label, truth == label) > least, name


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["upside down", "no brain", "a child's doll"])
def test_what_is_no_such_head_is_flagged(wrong):
    """Mutation seen red: every fit trusted."""
    anatomy, _ = made()
    if wrong == "upside down":
        anatomy = Anatomy(*(part.flip(1).flip(0) for part in anatomy[:3]), 5)
    elif wrong == "no brain":
        noise = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(1))
        anatomy = Anatomy(30.0 + 5.0 * noise, anatomy.head, anatomy.brain, 5)
    else:
        small = Geometry(GRID.shape, tuple(s / 2 for s in GRID.spacing), GRID.origin)
        assert find_regions(anatomy, small).warnings
        return
    (first, *_) = find_regions(anatomy, GRID).warnings
    assert first.startswith("regions are doubtful")


def test_numbers_of_a_region_by_hand():
    """Mutations seen red: means over the whole label, outside the mask; the ratio turned round."""
    grid = Geometry((1, 2, 4), (5.0, 10.0, 10.0))
    labels = torch.tensor([[[1, 1, 2, 2], [1, 1, 2, 0]]], dtype=torch.uint8)
    fit = HeadFit(torch.eye(3), torch.zeros(3), torch.zeros(3), torch.zeros(3, 2, 2, 2), torch.zeros(3), 1, 1, 1, 0)
    regions = Regions({"lobes": labels}, {"lobes": ("frontal right", "frontal left")}, fit)
    mask = torch.ones(1, 2, 4, dtype=torch.bool)
    mask[0, 1, 1] = False
    cbf = torch.tensor([[[10.0, 20.0, 40.0, 50.0], [60.0, 999.0, 30.0, 5.0]]])
    core = torch.zeros_like(mask)
    core[0, 0, 1:3] = True
    right, left = region_rows(regions, PerfusionMaps({"cbf": cbf}, mask, grid), {"core": core})
    assert (right.region, right.volume_ml, left.volume_ml) == ("frontal right", 1.5, 1.5)
    assert (right.means["cbf"], right.medians["cbf"]) == (30.0, 20.0)
    assert right.ratios["cbf"] == pytest.approx(30.0 / 40.0)
    assert left.ratios["cbf"] == pytest.approx(40.0 / 30.0)
    assert right.lesions == left.lesions == {"core": 0.5}


def test_a_scan_without_a_brain_is_refused():
    points = torch.rand(10, 3)
    with pytest.raises(ValueError, match="no point"):
        fit_head(points, points[:, 0], torch.zeros(10), _template().head)
