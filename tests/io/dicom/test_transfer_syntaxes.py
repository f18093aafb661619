"""Compressed pixels: lossless ones identical, lossy ones near, whatever nobody decodes named."""

import shutil
import subprocess

import numpy as np
import pytest
from oracles.scans import Scan, enhanced, save
from pydicom import dcmread

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io import read_series
from ctp_torch.io.dicom import codecs

LOSSLESS = {
    "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
    "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
    "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
    "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
    "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
    "LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1",
    "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2",
    "RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
}
LOSSY = {  # largest mean difference in HU; the 8-bit one has steps of 17 HU and an offset of 27 in the padding
    "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91": 1.0,
    "JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81": 1.0,
    "JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55": 4.0,
    "JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50": 25.0,
    "JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51": 4.0,
    "JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53": 4.0,
}


@pytest.mark.parametrize("name", sorted(LOSSLESS | set(LOSSY)))
def test_a_slice_in_every_transfer_syntax(name, third_party):
    """Mutation seen red: without SimpleITK's decoders all of JPEG but the 8-bit one fails."""
    folder = third_party / "dicom" / "transfer_syntaxes"
    known = dcmread(folder / "CTImage.dcm")
    hu = known.pixel_array * float(known.RescaleSlope) + float(known.RescaleIntercept)
    found = read_series(folder / f"CTImage.dcm_{name}.dcm").hu[0, 0].numpy()
    if name in LOSSLESS:
        np.testing.assert_array_equal(found, hu)
    else:
        assert np.abs(found - hu).mean() <= LOSSY[name]
        assert np.corrcoef(found.ravel(), hu.ravel())[0, 1] > 0.999


def test_every_file_of_the_folder_is_covered(third_party):
    files = (third_party / "dicom" / "transfer_syntaxes").iterdir()
    names = {path.name.removeprefix("CTImage.dcm_").removesuffix(".dcm") for path in files}
    assert names - {"CTImage", "LICENSE"} == LOSSLESS | set(LOSSY)


COMPRESSORS = {
    "JPEG Lossless": ["dcmcjpeg", "+e1"],
    "JPEG Lossless, process 14": ["dcmcjpeg", "+el"],
    "JPEG-LS": ["dcmcjpls", "+el"],
    "RLE": ["dcmcrle"],
}


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("multi_frame", [False, True], ids=["classic", "enhanced"])
def test_a_series_compressed_by_dcmtk(name, multi_frame, tmp_path):
    """Signed values, slope and intercept of each image, one file a slice or one for all."""
    if shutil.which(COMPRESSORS[name][0]) is None:
        pytest.skip("dcmtk is not installed")
    scan = Scan(n_frames=2, rows=16, columns=12)

    def change(d, t, z):
        d.PixelRepresentation, d.RescaleIntercept = 1, str(-24 - t)
        scan.put(d, scan.stored[t, z] - 1000)

    scan.each(change)
    plain = tmp_path / "plain"
    plain.mkdir()
    if multi_frame:
        save(enhanced(scan), plain / "multi.dcm")
    else:
        scan.save(plain)
    (tmp_path / "packed").mkdir()
    for path in plain.iterdir():
        packed = str(tmp_path / "packed" / path.name)
        subprocess.run([*COMPRESSORS[name], str(path), packed], check=True, capture_output=True)
    series = read_series(tmp_path / "packed")
    np.testing.assert_array_equal(series.hu.numpy(), scan.hu - np.arange(2)[:, None, None, None])
    assert "Explicit VR Little Endian" not in series.provenance.transfer_syntax


def test_damaged_pixels_are_named(tmp_path):
    scan = Scan(n_frames=1, n_slices=1, rows=64, columns=64)
    (path,) = scan.save(tmp_path).values()
    d = scan.images[0, 0]
    d.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    d.save_as(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UnreadableFileError, match=rf"{path.name}.*truncated"):
        read_series(tmp_path)


def test_a_syntax_without_decoder_is_named(tmp_path, monkeypatch, third_party):
    """As on a machine where no decoder for JPEG-LS is there."""
    monkeypatch.setattr(codecs, "SIMPLEITK_SYNTAXES", {})
    name = "CTImage.dcm_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm"
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", False)
    with pytest.raises(UnreadableFileError, match=r"no decoder for its transfer syntax JPEG-LS.*ctp-torch\[codecs\]"):
        read_series(third_party / "dicom" / "transfer_syntaxes" / name)
