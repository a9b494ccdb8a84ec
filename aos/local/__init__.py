"""What Azure provides, on one machine: a Functions host, a durable task hub, a Service Bus broker."""
