"""The PhysiqueFrame network and its parts."""
