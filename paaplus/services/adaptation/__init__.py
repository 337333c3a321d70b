"""One training's database side: what it reads, and the transaction that it ends with."""
