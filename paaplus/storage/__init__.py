"""Content-addressed storage of what is too big for a row: image files and base model artifacts."""
