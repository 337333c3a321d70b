"""The HTTP interface: for applications, their users, experts and admins. Never imports torch."""

from paaplus import garbage

garbage.begin_process()  # before the imports, which are most of a start
