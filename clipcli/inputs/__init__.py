"""Find the images: files, folders, globs and lists become items."""
