"""What files say of a checkpoint that is not there: answers to rows, losses of rows."""
