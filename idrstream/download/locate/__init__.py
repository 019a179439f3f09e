"""Where the movie of an image is: from the table, or from idr0013's layout."""
