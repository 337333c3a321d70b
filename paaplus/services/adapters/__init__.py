"""Adapter versions, and the matches that some of them start from."""
