"""What real libraries run: the kernels of NCCL, vLLM, SGLang and TensorRT-LLM, and which of them each picks.

choice.py     the price of a collective as a chip's library runs it
candidate.py  one kernel that a library may pick
nccl.py       NCCL's protocols and algorithms
direct.py     the direct AllReduce kernels of serving libraries
"""
