"""Registered artifacts: base models and taste priors, cached in each process."""
