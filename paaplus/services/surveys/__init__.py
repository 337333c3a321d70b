"""Surveys, users' answers, and the preferences that are encoded from them."""
