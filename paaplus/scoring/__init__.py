"""Scores in NumPy: what the API serves with. Never imports torch.

`features -> FeatureSpace -> taste space -> generic head + adapter -> score`. Every reduction runs per row, so an
item has the same bits alone and in any batch.
"""
