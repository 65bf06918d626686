"""What one kernel costs on a GPU: matrix product, attention, and the memory-bound rest.

Belongs here: the price of a kernel alone on its chip, from the datasheet and the generation's coefficients, vectorised
over shapes. Not here: launches between kernels (``scenarios.strategies``), collectives, anything of a model.
"""
