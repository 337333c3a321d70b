"""Images: uploaded files, their stored rows, and their features."""
