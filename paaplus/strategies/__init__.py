"""How new feedback is learned without losing the old: one file per strategy, named in `paaplus.strategy_facts`."""
