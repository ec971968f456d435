"""1:N identification: gallery, search, enrol, identify."""
