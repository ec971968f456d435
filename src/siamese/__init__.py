"""Siamese networks as a dependable pipeline: image folders in, a measured verification model out."""

__version__ = "0.1.0"
