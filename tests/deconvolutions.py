"""The one table of deconvolution methods that the tests run over."""

from functools import partial

from ctp_torch.ops.deconvolution.bayes import bayesian
from ctp_torch.ops.deconvolution.box import box_nlr
from ctp_torch.ops.deconvolution.delay_correction import delay_corrected_ssvd
from ctp_torch.ops.deconvolution.expectation_maximization import expectation_maximization
from ctp_torch.ops.deconvolution.gaussian_process import gaussian_process_deconvolution
from ctp_torch.ops.deconvolution.max_slope import max_slope
from ctp_torch.ops.deconvolution.svd import csvd, osvd, ssvd
from ctp_torch.ops.deconvolution.tikhonov import tikhonov
from ctp_torch.ops.deconvolution.vascular import vascular_model

METHODS = {
    "ssvd": ssvd,
    "csvd": csvd,
    "osvd": osvd,
    "tikhonov": tikhonov,
    "tikhonov_gcv": partial(tikhonov, selection="gcv"),
    "tikhonov_fixed": partial(tikhonov, selection="fixed"),
    "gaussian_process_deconvolution": gaussian_process_deconvolution,
    "expectation_maximization": expectation_maximization,
    "bayesian": bayesian,
    "vascular_model": vascular_model,
    "vascular_model_refined": partial(vascular_model, estimate="refined"),
    "box_nlr": box_nlr,
    "max_slope": max_slope,
    "delay_corrected_ssvd": delay_corrected_ssvd,
}
