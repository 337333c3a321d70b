"""The HTTP interface: for applications, their users, experts and admins. Never imports torch."""
