"""Long checks, run by `make acceptance`. What passed at this commit is not run again."""
