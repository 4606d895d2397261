"""The backend that runs GGUF files with llama.cpp."""
