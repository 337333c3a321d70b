"""Scoring for users: what is served, how sure it is, and receipts."""
