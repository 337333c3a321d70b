"""Bodies in photographs: who is there, where the joints are, and the mesh."""
