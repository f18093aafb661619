"""How a scan becomes maps: made ready, then deconvolved or predicted (Figure 1 of the paper)."""

from ctp_torch.data.anatomy import Anatomy as Anatomy
from ctp_torch.pipeline.analysis import Analysis as Analysis
from ctp_torch.pipeline.analysis import MapSettings as MapSettings
from ctp_torch.pipeline.analysis import analyse as analyse
from ctp_torch.pipeline.deconvolve import SMOOTHINGS as SMOOTHINGS
from ctp_torch.pipeline.deconvolve import Method as Method
from ctp_torch.pipeline.deconvolve import Smoothing as Smoothing
from ctp_torch.pipeline.deconvolve import deconvolve as deconvolve
from ctp_torch.pipeline.examine import Examination as Examination
from ctp_torch.pipeline.examine import examine as examine
from ctp_torch.pipeline.examine import inspect as inspect
from ctp_torch.pipeline.predict import features as features
from ctp_torch.pipeline.predict import predict as predict
from ctp_torch.pipeline.scan import Registration as Registration
from ctp_torch.pipeline.scan import Scan as Scan
from ctp_torch.pipeline.scan import align as align
from ctp_torch.pipeline.scan import estimate_motion as estimate_motion
from ctp_torch.pipeline.scan import locate as locate
from ctp_torch.pipeline.scan import prepare as prepare
from ctp_torch.pipeline.scan import preprocess as preprocess
