"""Scoring in NumPy: everything that the API serves with. Never imports torch.

`features -> BaseScorer -> taste space -> generic score + adapter -> personal score`. Sums are computed row by row, so
an item's score is bit-identical alone and in any batch.
"""
