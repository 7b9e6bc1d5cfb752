"""Rows of published datasets, from a mirror or the hub. Public to plugins."""
