"""Models from cohorts: pixels drawn, models trained, predictions scored."""
