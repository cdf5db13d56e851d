"""What lies on web servers and in buckets: by its address, with retries, limits and timeouts."""
