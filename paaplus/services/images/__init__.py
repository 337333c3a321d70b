"""Uploaded images: checked, re-encoded, stored."""
