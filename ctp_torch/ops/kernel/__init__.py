"""Products with Gaussian kernel matrices, and what solves with them."""
