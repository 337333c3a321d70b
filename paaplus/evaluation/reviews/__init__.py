"""Review study: how much expert reviews improve a tool's pseudo labels."""
