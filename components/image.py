"""What the steps' containers are made from. The pipeline sets another image where it is compiled for one."""

TRAINING_IMAGE = "siamese-training:latest"
