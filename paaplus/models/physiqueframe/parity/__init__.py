"""Comparison of this network with the published reference on parity fixtures."""
