"""Base models: features of images (torch), and the fit of taste space, generic head and prior (NumPy)."""
