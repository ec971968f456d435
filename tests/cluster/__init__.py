"""Checks of a whole Kubeflow installation with this pipeline: `make test-cluster KFP_HOST=…` (docs/conformance.md)."""
