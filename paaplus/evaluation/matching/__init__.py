"""Matching study: how much a quiz and a match with expert models improve the personal score."""
