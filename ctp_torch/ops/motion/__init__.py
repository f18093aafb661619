"""Rigid motion of a head: estimated, undone, and what it leaves."""
