"""Questions and preferences: files, data sets of the hub, the paper's set-ups."""
