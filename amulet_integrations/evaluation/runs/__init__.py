"""Running an evaluation: the tasks, the answers, and the folder that keeps them."""
