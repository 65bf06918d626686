"""What to run on what: the best layouts and machines for a question, and what a budget of compute buys."""
