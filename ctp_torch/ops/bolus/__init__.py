"""The bolus: concentration, arteries and veins, first pass, numbers of a curve."""
