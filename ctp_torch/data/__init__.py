"""The nouns: where voxels lie, a series, its curves, its maps. They hold; they do not compute."""
