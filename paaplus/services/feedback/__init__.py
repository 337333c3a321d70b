"""The append-only feedback log: accepting events, reading them, excluding them."""
