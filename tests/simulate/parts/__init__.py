"""Parts of a project that a seed draws: the switches of its file, and the pictures of its rows."""
