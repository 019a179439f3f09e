"""The journal of an output folder: all SQL of idrstream is here."""
