"""Stream study: quality, forgetting and cost of the strategies on streams of increments."""
