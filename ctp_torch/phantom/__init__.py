"""Digital patients with known truth: anatomy, physiology, acquisition, cohorts on disk."""

from ctp_torch.phantom.curves import CLINICAL as CLINICAL
from ctp_torch.phantom.curves import TEXTBOOK as TEXTBOOK
from ctp_torch.phantom.curves import Bolus as Bolus
from ctp_torch.phantom.curves import arterial_curve as arterial_curve
from ctp_torch.phantom.curves import box_tissue_curve as box_tissue_curve
from ctp_torch.phantom.curves import exponential_tissue_curve as exponential_tissue_curve
from ctp_torch.phantom.curves import gamma_tissue_curve as gamma_tissue_curve
from ctp_torch.phantom.curves import gamma_venous_curve as gamma_venous_curve
from ctp_torch.phantom.curves import leaking_tissue_curve as leaking_tissue_curve
from ctp_torch.phantom.curves import linear_tissue_curve as linear_tissue_curve
from ctp_torch.phantom.patient import LABELS as LABELS
from ctp_torch.phantom.patient import Patient as Patient
from ctp_torch.phantom.patient import PatientTruth as PatientTruth
from ctp_torch.phantom.patient import ScanVariant as ScanVariant
from ctp_torch.phantom.patient import render_patient as render_patient
from ctp_torch.phantom.territories import TERRITORIES as TERRITORIES
from ctp_torch.phantom.tiles import TileTruth as TileTruth
from ctp_torch.phantom.tiles import render_tiles as render_tiles
from ctp_torch.phantom.tiles import write_tiles as write_tiles
