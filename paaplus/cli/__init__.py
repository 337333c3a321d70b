"""The command line `paaplus`: for operators and researchers."""
