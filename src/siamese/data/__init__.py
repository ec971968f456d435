"""Image folders to catalog, splits and pairs."""
