"""Bodies in photographs: person detection, joints and meshes."""
