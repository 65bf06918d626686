"""Commands that hold it against reality: generate, validate, accuracy, calibrate."""
