"""Conformance suites: what a part of one's own must pass to take a built-in one's place.

Needs pytest. Subclass a suite in a test module and give it its fixtures.
"""
