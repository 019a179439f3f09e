"""Images larger than memory: cut into tiles that are streamed as frames."""
