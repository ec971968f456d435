"""Training on several machines of a Kubernetes cluster: the job that launches them, and what each of them runs."""
