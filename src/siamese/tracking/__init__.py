"""One MLflow run per training, written to a journal on disk first."""
