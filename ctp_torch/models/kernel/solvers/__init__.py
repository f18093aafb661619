"""Ways to solve (K + alpha I) w = y: one file per way, and the plan that chooses among them."""
