"""Contrastive training of open_clip models."""
