"""The paper's study on a cohort, and the scorecard of how much of it is perfusion: steps, tables, figures."""
