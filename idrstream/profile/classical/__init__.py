"""CellProfiler's measurements of objects, by cp_measure."""
