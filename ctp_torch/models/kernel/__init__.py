"""Gaussian kernel ridge regression and its solvers."""
