"""Results as DICOM objects of the patient's own study: one file per kind of object."""
