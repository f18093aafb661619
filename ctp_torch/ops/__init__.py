"""Tensor in, tensor out: the physics and the image chain, one step per file, in the order the data flow."""

from ctp_torch.ops.hounsfield import hounsfield as hounsfield
from ctp_torch.ops.hounsfield import window as window
from ctp_torch.ops.smoothing import gaussian_smooth as gaussian_smooth
from ctp_torch.ops.smoothing import smooth_in_time as smooth_in_time
from ctp_torch.ops.ssim import ssim as ssim
from ctp_torch.ops.ssim import ssim_map as ssim_map
