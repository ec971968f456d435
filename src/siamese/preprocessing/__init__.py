"""The transform graph, the Beam job that applies it, and the pixel store it writes."""
