"""Migrations of the database: `paaplus.db.migrate` runs them, `env.py` says how, `versions/` holds the steps."""
