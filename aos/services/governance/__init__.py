"""Governance: policies decided by Cedar, and the key that signs audit checkpoints."""

from aos.services.governance.cedar import CedarEngine
from aos.services.governance.signer import LocalSigner

__all__ = ["CedarEngine", "LocalSigner"]
