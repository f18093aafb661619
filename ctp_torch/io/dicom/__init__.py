"""DICOM: bytes to one grid of images and times, and a grid to bytes."""
