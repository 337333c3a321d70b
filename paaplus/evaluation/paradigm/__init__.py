"""Paradigm study: an ablation that compares PAA+ with the usual approach and with PAA+ without single stages."""
