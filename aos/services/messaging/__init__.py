"""Messaging: sending to Service Bus, many messages in one flight."""
