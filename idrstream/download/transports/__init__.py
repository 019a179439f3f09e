"""HTTP, FTP, S3 and local folders: each transfers a file completely or not at all."""
