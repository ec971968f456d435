"""Decode, validate and canonicalise one image file."""
