"""AI tools: what says something about an image before any person does. `registry.AI_TOOLS` lists them."""
