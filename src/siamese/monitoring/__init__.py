"""A model in use: drift, prediction log, retraining report."""
