"""The backend that runs Hugging Face checkpoints with torch."""

import warnings

with warnings.catch_warnings():
    # transformers imports it, and it warns in every notebook that has no ipywidgets.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import tqdm.auto  # noqa: F401
