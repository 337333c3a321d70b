"""Proof by trying: a platform of its own under seeded traffic, killed and starved, then checked row by row.

It knows the platform from outside (HTTP, the command line, processes), and reads the database when all is over.
"""
