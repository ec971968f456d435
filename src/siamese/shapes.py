"""The sizes that every step shares."""

IMAGE_SHAPE = (100, 100, 3)  # height, width, channels of what the network sees
EMBEDDING_UNITS = 4096
