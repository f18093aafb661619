"""What a study computes: models, scores, floors, lesions, robustness."""
