"""AI tools: they label images before any person does. `registry.AI_TOOLS` lists them."""
