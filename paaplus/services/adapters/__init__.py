"""Adapter versions: the active pointer, rollback, and versions made by matches."""
