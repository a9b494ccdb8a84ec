"""Storage: rows with ETags, content-addressed values and append-only logs, on one machine or in Azure."""

from aos.services.storage.ports import AlreadyExists, Blobs, Logs, Page, Ref, Row, Rows, Stale
from aos.services.storage.storage import Storage

__all__ = ["AlreadyExists", "Blobs", "Logs", "Page", "Ref", "Row", "Rows", "Stale", "Storage"]
