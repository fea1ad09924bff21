"""What happens, in which order. One flow a file; its body is the diagram."""
