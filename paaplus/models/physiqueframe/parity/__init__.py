"""Proof against the reference's numbers."""
