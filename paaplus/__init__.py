"""paaplus: a continual-learning personalization platform for image aesthetics."""

__version__ = "0.1.0"
