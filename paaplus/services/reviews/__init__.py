"""Pseudo labels by AI tools, experts' reviews of them, and what tools learn from the reviews."""
