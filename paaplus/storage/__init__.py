"""Storage outside the database: blobs by content, and the list of erased users."""
