"""Robustness study: which ordinary filters raise the scores of a user's model or of a tool, and by how much."""
