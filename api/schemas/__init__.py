"""Bodies of requests (`...In`) and answers (`...Out`), one file per resource."""
