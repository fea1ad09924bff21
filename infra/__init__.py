"""What the factory runs on: settings, errors, atomic storage, progress."""
