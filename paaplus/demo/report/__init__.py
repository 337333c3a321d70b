"""The HTML report of the demo: its document, page, charts and strip of images."""
