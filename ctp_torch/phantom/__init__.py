"""Digital patients with known truth: anatomy, physiology, acquisition, cohorts on disk."""
