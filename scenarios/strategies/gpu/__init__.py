"""Strategies on GPUs: what kernels cost there, and how they follow each other."""
