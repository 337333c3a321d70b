"""Studies that replay a data set's ratings as feedback and measure how well each test person's taste is learned."""
