"""The studio: pages for people who rate, and for admins who watch. It knows the services, as the API does."""
