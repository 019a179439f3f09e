"""Where the movie of an image is: idr0013's layout, or what the table says."""
