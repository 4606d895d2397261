"""How tools, calls and results stand in a prompt: the model's template's way, or ours."""
