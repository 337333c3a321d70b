"""What goes in (`...In`) and what comes out (`...Out`), one file per noun."""
