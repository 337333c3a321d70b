"""Models fitted over many people: the taste prior and the preference encoder."""
