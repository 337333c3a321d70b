"""The services that the API, the workers and the command line use: SQL and NumPy. Never imports torch."""
