"""Regressors that learn perfusion maps from time curves; names and meanings follow scikit-learn."""
