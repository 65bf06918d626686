"""What all pictures share: a figure that saves itself, its colours, its panels."""
