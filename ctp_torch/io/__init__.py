"""Bytes to nouns and back: DICOM, NIfTI, cohort folders. pydicom, SimpleITK and Pillow are imported on first use."""

from ctp_torch.io.atomic import whole as whole
from ctp_torch.io.cohort.cohort import Cohort as Cohort
from ctp_torch.io.cohort.cohort import CohortPatient as CohortPatient
from ctp_torch.io.cohort.cohort import read_cohort as read_cohort
from ctp_torch.io.cohort.cohort import write_cohort_index as write_cohort_index
from ctp_torch.io.cohort.target_maps import read_target_indices as read_target_indices
from ctp_torch.io.cohort.value_maps import ValueMap as ValueMap
from ctp_torch.io.cohort.value_maps import read_value_maps as read_value_maps
from ctp_torch.io.color.captures import ColorMaps as ColorMaps
from ctp_torch.io.color.captures import write_color_maps as write_color_maps
from ctp_torch.io.color.read_captures import read_color_maps as read_color_maps
from ctp_torch.io.dicom.header import StudyHeader as StudyHeader
from ctp_torch.io.dicom.uids import make_uid as make_uid
from ctp_torch.io.dicom.write import write_ct_series as write_ct_series
from ctp_torch.io.exchange import from_nibabel as from_nibabel
from ctp_torch.io.exchange import from_numpy as from_numpy
from ctp_torch.io.exchange import from_sitk as from_sitk
from ctp_torch.io.exchange import to_nibabel as to_nibabel
from ctp_torch.io.exchange import to_sitk as to_sitk
from ctp_torch.io.nifti.nifti import read_volume as read_volume
from ctp_torch.io.nifti.nifti import write_nifti_series as write_nifti_series
from ctp_torch.io.nifti.nifti import write_volume as write_volume
from ctp_torch.io.read_series import read_series as read_series
from ctp_torch.io.results.derivation import Derivation as Derivation
from ctp_torch.io.results.source import read_source as read_source
from ctp_torch.io.results.write_maps import write_maps as write_maps
