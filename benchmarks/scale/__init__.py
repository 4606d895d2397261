"""What many users need: formulae, and the measurements that they start from."""
