"""The pipeline for Kubeflow and Vertex AI: its wiring, and the ways to run it (`python -m pipelines`)."""
