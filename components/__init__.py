"""The pipeline's steps as Kubeflow components: typed artifacts around one call into `siamese`, a file each."""
