"""Tests that run llama.cpp, in the environment of `make test-llama-cpp`."""
