"""The database side of a training: the snapshot it reads, the transaction that ends it, drift, and suggestions."""
