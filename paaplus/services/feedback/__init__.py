"""The append-only feedback log: append events, read the log, exclude events."""
