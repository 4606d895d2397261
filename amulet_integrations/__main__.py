"""`python -m amulet_integrations` is the command `amulet`."""

from amulet_integrations.cli import main

if __name__ == "__main__":
    main()
