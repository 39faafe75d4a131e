import torch

# The suite runs in as many processes as there are cores; threads inside them only get in the way.
torch.set_num_threads(1)
