"""Coloured maps back to numbers: colour bars, legends, captures."""
