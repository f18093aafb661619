"""NIfTI volumes and series, and the times that lie beside them."""
