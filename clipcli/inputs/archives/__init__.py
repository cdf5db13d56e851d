"""Images in .zip and .tar files, read where they lie: nothing is unpacked into the file system."""
