"""Physique data sets: reading, meshes, and a synthetic miniature."""
