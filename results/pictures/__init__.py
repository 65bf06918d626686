"""Pictures: one module each, on the canvas that all share; ``kinds.py`` lists those that a frame can be drawn as."""
