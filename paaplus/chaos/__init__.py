"""Fault injection: a platform under seeded traffic, with killed and paused processes; then every promise is checked.

It uses the platform from outside (HTTP, command line, processes), and reads the database at the end.
"""
