"""Where weights come from: GGUF, safetensors, random numbers."""
