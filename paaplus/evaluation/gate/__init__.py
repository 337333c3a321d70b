"""Gate study: what people are served while they send honest or spoiled feedback in small steps."""
