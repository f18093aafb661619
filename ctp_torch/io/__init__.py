"""Bytes to nouns and back: DICOM series, NIfTI volumes, cohort folders."""
