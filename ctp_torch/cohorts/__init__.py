"""Many scans: which there are, mapped one after another or side by side, and one table of what came of them."""

from ctp_torch.cohorts.cases import Case as Case
from ctp_torch.cohorts.cases import find_cases as find_cases
from ctp_torch.cohorts.run import run_cohort as run_cohort
from ctp_torch.pipeline.engine import LocalEngine as LocalEngine
