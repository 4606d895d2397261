"""Amulet on llama.cpp beside the torch engine, llama.cpp alone and the wrappers around it."""
