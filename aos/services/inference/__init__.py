"""Inference: one turn of a model at a time, from any provider, with its price."""

from aos.services.inference.factory import Provider, make_model_client
from aos.services.inference.messages import Message, ModelReply, Role, ToolCall, Usage
from aos.services.inference.ports import ModelClient, ModelRejected, ModelTruncated, ModelUnavailable
from aos.services.inference.prices import Price, PriceTable, make_price_table

__all__ = [
    "Message",
    "ModelClient",
    "ModelRejected",
    "ModelReply",
    "ModelTruncated",
    "ModelUnavailable",
    "Price",
    "PriceTable",
    "Provider",
    "Role",
    "ToolCall",
    "Usage",
    "make_model_client",
    "make_price_table",
]
