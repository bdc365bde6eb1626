"""What the test modules of several rooms share."""
