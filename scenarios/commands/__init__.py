"""Commands of ``loopline``, a module each; ``scenarios.commands.main`` registers them."""
