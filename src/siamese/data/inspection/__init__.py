"""The data report: statistics, near-duplicates and outliers of an image folder."""
