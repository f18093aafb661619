"""A perfusion map as an enhanced CT object: read as the map it is, refused as a series."""

import numpy as np
import pytest
from oracles.scans import Scan, enhanced, part, save
from pydicom import dcmread

from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io import read_series, read_value_maps


def test_the_consoles_rcbf(third_party):
    path = third_party / "dicom" / "enhanced_ct_rcbf.dcm"
    found = read_value_maps(path)["cbf"]
    dataset = dcmread(path)
    known = dataset.pixel_array[::-1].astype("float32") - 1024  # real-world intercept; its frames run to the head
    np.testing.assert_array_equal(found.values.numpy(), known)
    assert found.unit == "ml/100ml/s"
    assert found.palette.shape == (100, 3)
    assert found.palette_first == 1024
    red = np.frombuffer(dataset.RedPaletteColorLookupTableData, "<u2")
    np.testing.assert_array_equal(found.palette[:, 0].numpy(), red >> 8)
    assert found.geometry.shape == (2, 512, 512)
    # its rows run to the right: the normal points to the feet, and slices ascend along it
    assert found.geometry.position(0, 0, 0) == pytest.approx((99.5, -301.5, -149.0))
    assert found.geometry.position(1, 0, 0) == pytest.approx((99.5, -301.5, -159.0))
    with pytest.raises(NoSeriesError, match=r"2 x perfusion map, no source image \(DERIVED/PRIMARY/PERFUSION/RCBF\)"):
        read_series(path)


def test_real_world_values_count_before_rescale(tmp_path):
    """Mutation seen red: returning the rescaled values."""
    scan = Scan(n_frames=1)
    multi = enhanced(scan)
    multi.ImageType = ["DERIVED", "PRIMARY", "PERFUSION", "RCBV"]
    unit = part(CodeValue="ml/[100]g", CodingSchemeDesignator="UCUM", CodeMeaning="ml/100g")
    shared = multi.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = [
        part(RealWorldValueSlope=0.25, RealWorldValueIntercept=-3.0, MeasurementUnitsCodeSequence=[unit])
    ]
    save(multi, tmp_path / "m.dcm")
    found = read_value_maps(tmp_path)["cbv"]
    np.testing.assert_allclose(found.values.numpy(), scan.stored[0] * 0.25 - 3.0, atol=1e-3)
    assert found.unit == "ml/[100]g"
    assert found.palette is None


def test_refusals(tmp_path):
    with pytest.raises(NoSeriesError, match="no scalar map"):
        read_value_maps(tmp_path)
    scan = Scan(n_frames=2)
    scan.each(lambda d, t, z: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "AXIAL", "MTT"])).save(tmp_path)
    with pytest.raises(UnreadableFileError, match="two mtt maps of one slice"):
        read_value_maps(tmp_path)
