"""Stream a whole IDR screen to single-cell features."""
