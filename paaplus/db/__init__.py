"""The database: engine, sessions, tables. Queries live in services and the queue."""
