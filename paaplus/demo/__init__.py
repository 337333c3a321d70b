"""`make demo`: the whole loop, through HTTP and the command line only, with a report at the end."""
