"""Pictures of what is chosen or bought: layouts and chips, a budget of compute, servers under load."""
