"""What a dashboard and a desk in a browser cost a run beside them."""
