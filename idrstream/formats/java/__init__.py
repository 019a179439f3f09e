"""Readers that need Java: ImageJ and Bio-Formats, in a process of their own."""
