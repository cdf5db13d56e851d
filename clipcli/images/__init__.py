"""Encoded images to a model's pixels."""
