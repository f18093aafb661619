"""What a study computes: models, scores, floors, lesions, robustness.

Every step is a function of ``folder``, where the files of all steps lie, and of its settings by name: ``name`` and
``split`` of a patient (or ``name`` of a model), ``names`` of the training patients, ``scored`` (who is scored, at which
filter widths), ``seed`` of a draw, ``size`` or ``sizes`` of the training set [pixels], ``widths`` of the Gaussians on
all predictions [pixels], ``calibrated`` lesion thresholds. Settings beside those only tell what the result depends on.
"""
