"""The ``idrstream`` command."""
