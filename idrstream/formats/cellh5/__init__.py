"""CellH5, the HDF5 files of CellCognition: layout, reading, and proof of completeness."""
