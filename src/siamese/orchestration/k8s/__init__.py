"""Training on several machines of a Kubernetes cluster: the job that launches them, and each worker."""
