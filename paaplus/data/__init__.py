"""Data sets: folders of rated images, and the built-in set."""
