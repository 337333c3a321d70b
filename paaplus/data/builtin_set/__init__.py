"""The built-in set: photographs from pip packages, drawn scenes, simulated people."""
