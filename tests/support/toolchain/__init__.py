"""What the make targets for maintainers run."""
