"""Quality of a series: what makes perfusion maps wrong, measured, and held against limits that are written down."""

from ctp_torch.quality.checks import Bolus as Bolus
from ctp_torch.quality.checks import assess as assess
from ctp_torch.quality.checks import slice_mismatch as slice_mismatch
from ctp_torch.quality.flags import Check as Check
from ctp_torch.quality.flags import Quality as Quality
