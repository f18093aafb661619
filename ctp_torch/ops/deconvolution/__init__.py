"""Deconvolutions: tissue and arterial curves to flow, volume, transit time and delay."""
