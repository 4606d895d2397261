"""The backend that runs Hugging Face checkpoints with torch."""
