"""What the broker refuses, each with the AMQP condition that clients map to their own exceptions."""


class BrokerError(Exception):
    """Root of the broker's errors: an AMQP `condition`, and the `status` of a management response."""

    condition = "amqp:internal-error"
    status = 500

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description

    @property
    def reason(self) -> str:
        """Why a message is a dead letter, if that is because of this error."""
        return type(self).__name__.removesuffix("Error")


class DecodeError(BrokerError):
    """Bytes that are not valid AMQP 1.0."""

    condition = "amqp:decode-error"
    status = 400


class FramingError(BrokerError):
    """A frame header that cannot be right; the connection cannot go on."""

    condition = "amqp:connection:framing-error"
    status = 400


class InvalidFieldError(BrokerError):
    """A field that is missing or makes no sense."""

    condition = "amqp:invalid-field"
    status = 400


class NotAllowedError(BrokerError):
    """An operation that this entity or state does not allow."""

    condition = "amqp:not-allowed"
    status = 400


class NotImplementedByBrokerError(BrokerError):
    """An operation that this broker does not know."""

    condition = "amqp:not-implemented"
    status = 501


class UnattachedHandleError(BrokerError):
    """A frame for a link that is not attached."""

    condition = "amqp:session:unattached-handle"
    status = 400


class TransferLimitError(BrokerError):
    """A sender that sends beyond its link credit."""

    condition = "amqp:link:transfer-limit-exceeded"
    status = 400


class EntityNotFoundError(BrokerError):
    """No queue, topic or subscription has that name."""

    condition = "amqp:not-found"
    status = 404


class EntityExistsError(BrokerError):
    """A rule of that name is there already."""

    condition = "com.microsoft:entity-already-exists"
    status = 409


class EntityDisabledError(BrokerError):
    """The entity's status forbids to send to it, or to receive from it."""

    condition = "com.microsoft:entity-disabled"
    status = 403


class QuotaExceededError(BrokerError):
    """The entity holds as much as it may."""

    condition = "amqp:resource-limit-exceeded"
    status = 403


class MaxTransferHopCountExceededError(BrokerError):
    """A message was forwarded from entity to entity too often."""

    condition = "amqp:not-allowed"
    status = 400


class MessageNotFoundError(BrokerError):
    """No message has that sequence number in the state asked for."""

    condition = "com.microsoft:message-not-found"
    status = 404


class LockLostError(BrokerError):
    """The lock has expired, was released, or never existed."""

    condition = "com.microsoft:message-lock-lost"
    status = 410


class SessionLockLostError(BrokerError):
    """The session's lock has expired or is not held by this link."""

    condition = "com.microsoft:session-lock-lost"
    status = 410


class SessionCannotBeLockedError(BrokerError):
    """The session is locked by another receiver."""

    condition = "com.microsoft:session-cannot-be-locked"
    status = 409


class OperationTimeoutError(BrokerError):
    """Nothing became available in the time that the client gave."""

    condition = "com.microsoft:timeout"
    status = 408


class ArgumentError(BrokerError):
    """An argument of a management operation that cannot be right."""

    condition = "com.microsoft:argument-error"
    status = 400


class UnauthorizedError(BrokerError):
    """No valid token covers the entity."""

    condition = "amqp:unauthorized-access"
    status = 401


class MessageTooLargeError(BrokerError):
    """A message or a batch above its limit."""

    condition = "amqp:link:message-size-exceeded"
    status = 400


class StorageFullError(BrokerError):
    """The journal's disk is full: nothing was accepted."""

    condition = "amqp:resource-limit-exceeded"
    status = 507


class ServerBusyError(BrokerError):
    """The journal could not be written; nothing was accepted, and trying again may work."""

    condition = "com.microsoft:server-busy"
    status = 503


class DatabaseError(Exception):
    """The journal's file cannot be used: unreadable, corrupt, or written by a newer version."""


class CertificateError(Exception):
    """The folder of the TLS certificate cannot be used."""
