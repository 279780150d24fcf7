"""The CUDA side of numcore: sources, shared headers, and their launch through CuPy."""
