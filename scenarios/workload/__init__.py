"""What runs: models, how they are split over chips, and the operators that one chip computes for a step."""
