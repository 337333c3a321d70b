"""AI tools' pseudo labels and the experts' reviews of them."""
