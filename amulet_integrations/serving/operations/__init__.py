"""What keeps a server running: bounds, metrics, logs, traces, shutdown."""
