"""Published runs of models, collectives and servers: rows of their tables priced as they were run."""
