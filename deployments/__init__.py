"""What runs somewhere: the command line, the local server, the demo."""
