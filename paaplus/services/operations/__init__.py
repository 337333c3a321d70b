"""Operators' work: backup and restore, erasure, export, jobs and status."""
