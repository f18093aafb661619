"""Where the truth lies when a model says a value: bands of quantities and of volumes, as a training left them."""
