"""What Kubeflow components call and no DVC stage needs."""
