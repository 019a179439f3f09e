"""HTTP, FTP, S3 and local folders: each brings a file, complete or not at all."""
