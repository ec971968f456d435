"""The built-in sample: drawn signatures."""
