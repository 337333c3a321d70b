"""Reading, naming and converting PhysiqueFrame weights."""
