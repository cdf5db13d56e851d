"""Changes to a loaded model that make it faster and leave its features as they are."""
