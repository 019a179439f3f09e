"""The verbs on an output folder, as commands."""
