"""Strategies in a stream of increments: quality, forgetting, cost."""
