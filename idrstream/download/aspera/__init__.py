"""Transfers by Aspera's ``ascp``."""
