"""`paaplus evaluate`: replay a data set and measure."""
