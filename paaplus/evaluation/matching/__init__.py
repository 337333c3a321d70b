"""Quiz, match and expert models; PAA+ with each stage taken away."""
