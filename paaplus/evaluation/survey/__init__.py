"""Survey study: how much a survey's answers improve the personal score."""
