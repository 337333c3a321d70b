"""Networks of the laboratory that published PAA+, written from descriptions of them; AI tools judge by them."""
