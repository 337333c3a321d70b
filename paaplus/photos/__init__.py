"""A person's own folder of photographs: imported, ranked and rated on this machine, without a server."""
