"""What every client of a server shares: errors, connections at once, pools, retries."""
