"""Every network of the four papers, each able to take conv, shift or adder operators."""
