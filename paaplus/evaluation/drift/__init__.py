"""Drift study: detection delay, false alarms and benefit of the drift test."""
