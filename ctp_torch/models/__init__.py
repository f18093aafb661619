"""Regressors that learn perfusion maps from time curves; names and meanings follow scikit-learn."""

from ctp_torch.models.base import Regressor as Regressor
from ctp_torch.models.forest.random_forest import RandomForest as RandomForest
from ctp_torch.models.kernel.kernel_ridge import KernelRidge as KernelRidge
from ctp_torch.models.kernel.sweeps import learning_curve as learning_curve
from ctp_torch.models.kernel.sweeps import leave_one_out as leave_one_out
from ctp_torch.models.linear import LinearRegression as LinearRegression
from ctp_torch.models.linear import Ridge as Ridge
from ctp_torch.models.load import load_model as load_model
from ctp_torch.models.network.convolution import Convolution as Convolution
from ctp_torch.models.network.perceptron import Network as Network
from ctp_torch.models.network.recurrent import Recurrent as Recurrent
from ctp_torch.models.network.unet import UNet as UNet
from ctp_torch.models.stack import Stack as Stack
