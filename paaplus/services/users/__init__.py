"""Users, API keys and rate limits."""
