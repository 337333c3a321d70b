"""What workers and the command line run: database rows in, learning, database rows out."""
