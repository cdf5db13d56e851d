"""How the bundled model `nano` is made: `make nano` runs every step; README.md tells what each one does."""
