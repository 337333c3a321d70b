"""The HTTP interface: what applications, their users, experts and admins talk to. Never imports torch."""
