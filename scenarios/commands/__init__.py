"""Commands of ``loopline``, a module each; ``scenarios.cli`` registers them."""
