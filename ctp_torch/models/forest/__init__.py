"""The random forest and its engine: bins, histograms, splits, growth, prediction."""
