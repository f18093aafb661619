"""Tensor in, tensor out: the physics and the image chain, one step per file, in the order the data flow."""
