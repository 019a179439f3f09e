"""DeepProfiler: its project folder, its configuration, and its process."""
