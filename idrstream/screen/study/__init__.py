"""A study's own files: plates, screens, patterns, annotation, and where its movies are."""
