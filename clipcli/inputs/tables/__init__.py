"""Tables as inputs: a column names the images or holds them, and the others travel to the output."""
