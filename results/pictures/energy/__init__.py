"""Pictures of energy: machines by what an operation takes and what their programmers say."""
