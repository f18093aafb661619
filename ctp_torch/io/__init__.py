"""Bytes to nouns and back: DICOM, NIfTI, cohort folders. pydicom, SimpleITK and Pillow are imported on first use."""

from ctp_torch.io.atomic import whole as whole
from ctp_torch.io.dicom_color import ColorMaps as ColorMaps
from ctp_torch.io.dicom_color import read_color_maps as read_color_maps
from ctp_torch.io.dicom_color import write_color_maps as write_color_maps
from ctp_torch.io.dicom_header import StudyHeader as StudyHeader
from ctp_torch.io.dicom_write import write_ct_series as write_ct_series
from ctp_torch.io.uids import make_uid as make_uid
