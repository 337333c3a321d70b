"""The command line `paaplus`: what an operator and a researcher do."""
