"""Voxel curves of known perfusion: what physics students learn from."""
