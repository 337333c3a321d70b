"""Scores of images for users, their confidence, and receipts."""
