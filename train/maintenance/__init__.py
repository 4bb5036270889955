"""What keeps the shipped weights honest: accuracy against latency."""
