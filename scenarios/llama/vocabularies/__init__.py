"""Text to tokens and back: vocabularies of GGUF files and of Hugging Face folders."""
