"""Cellpose as the segmentor of nuclei."""
