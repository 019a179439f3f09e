"""Conformance suites that a component of your own must pass to replace a built-in one.

Needs pytest. Subclass a suite in a test module and define its fixtures.
"""
