"""K-shot study: quality of an adapter after k ratings."""
