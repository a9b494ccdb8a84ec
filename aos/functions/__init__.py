"""Functions make it durable: the only place that knows triggers, orchestrators and entities."""
