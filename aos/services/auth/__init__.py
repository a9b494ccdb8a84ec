"""Who calls: API keys, hashed at rest, and the roles that they carry."""

from aos.services.auth.keys import KeyRecord, KeyStore
from aos.services.auth.principal import APPROVER, OPERATOR, VIEWER, Principal, require

__all__ = ["APPROVER", "OPERATOR", "VIEWER", "KeyRecord", "KeyStore", "Principal", "require"]
