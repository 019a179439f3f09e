"""One step of a stream over a sample of images, from what was kept of the step before."""
