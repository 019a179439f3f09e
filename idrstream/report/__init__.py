"""The quality report: one HTML page of an output folder, also while its stream runs."""
