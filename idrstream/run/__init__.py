"""One run of a stream over an output folder: locks, decision, scheduler, journal."""
