"""What figures were measured on: processor, GPU, board, power mode, clocks; and the watts it drew meanwhile."""
