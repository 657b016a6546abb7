"""Fine-tuning the encoder; wants a GPU."""
