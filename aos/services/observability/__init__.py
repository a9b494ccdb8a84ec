"""What AOS tells of itself while it runs: traces and metrics, in OpenTelemetry's terms."""
