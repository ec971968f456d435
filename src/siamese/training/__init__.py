"""Sampler, augmentation, losses, training step, loop, checkpoints and distribution."""
