"""Disk space: the budget, and who may take some of it next."""
