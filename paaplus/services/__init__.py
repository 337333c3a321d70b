"""What the API and the pipelines decide with: SQL and NumPy, one file per noun. Never imports torch."""
