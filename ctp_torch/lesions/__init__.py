"""Core, hypoperfusion and penumbra: from maps to volumes, and the thresholds between."""
