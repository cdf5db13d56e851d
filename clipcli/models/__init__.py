"""open_clip models: their names, files, construction and use."""
