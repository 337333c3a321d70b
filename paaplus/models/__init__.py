"""Base models: from an image file to cached features (torch), and the fit of what scores them (NumPy)."""
