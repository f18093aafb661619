"""Folders of many patients: their series, and the maps that belong to them."""
