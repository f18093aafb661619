"""The random forest against scikit-learn, brute force, and its own laws."""

import pytest
import torch
from regressor_contract import RegressorContract

from ctp_torch.models import RandomForest


class TestRandomForest(RegressorContract):
    independent_targets = False

    def make(self):
        return RandomForest(20)


class TestRandomThresholds(RegressorContract):
    independent_targets = False

    def make(self):
        return RandomForest(20, splitter="random", bootstrap=False)
