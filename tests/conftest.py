"""Its being here puts this folder on the path: what several tests need is imported from the modules beside it.

command_line.py    ``loopline`` as a function
frame_rows.py      rows of results, made by hand
llama_examples.py  tiny Llamas and their weights
"""
