"""From words to prompts: class lists, templates, and the texts that they make together."""
