"""The HTTP server of `siamese serve`."""
