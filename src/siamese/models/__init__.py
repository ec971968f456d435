"""Networks, the SavedModel, and inference with it: embed, score, verify."""
