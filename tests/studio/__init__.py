"""Browser tests of the studio: a package, so that its files share fixtures of the scope `package`."""
