"""Base models and taste priors: registered, loaded once."""
