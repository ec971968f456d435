"""The record of each training in MLflow: what stands around the steps, never in them."""
