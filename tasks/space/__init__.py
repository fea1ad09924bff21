"""The demo: rendered for one model, started, and proven to serve it."""
