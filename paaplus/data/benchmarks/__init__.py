"""Published data sets, read as their releases lay out files, and written as data folders."""
