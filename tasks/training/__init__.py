"""Fine-tuning: the plan, the trainer in its own process, its outputs."""
