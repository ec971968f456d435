"""Threshold, measurement and report of a model on pairs."""
