"""Images larger than memory, read by rectangles: tiled and striped TIFF, OME-Zarr."""
