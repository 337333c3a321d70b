"""Replay a data set as if its people gave it to us, and measure how well they are learned."""
