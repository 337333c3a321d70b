"""Gate study: how often the gate promotes bad candidates and refuses good ones."""
