"""What an operator does: backup, erasure, export, jobs, status."""
