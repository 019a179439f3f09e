"""The output folder at rest: what it holds, what was decided, and whether it is sound."""
