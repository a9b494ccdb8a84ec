"""What ids may look like, by the rules of the Durable Task Scheduler."""

import grpc

from aos.local.taskhub.errors import HubError

_LONGEST = 100


def check_instance_id(instance_id: str) -> None:
    """`HubError` INVALID_ARGUMENT unless this can be the id of an orchestration instance."""
    if instance_id.startswith("@"):
        raise _invalid(f"'{instance_id}': ids with '@' are those of entities")
    _check_length(instance_id)


def check_entity_id(entity_id: str) -> None:
    """`HubError` INVALID_ARGUMENT unless this is the id of an entity: `@name@key`."""
    if not entity_id.startswith("@") or not entity_id[1:].partition("@")[0] or entity_id.count("@") < 2:
        raise _invalid(f"'{entity_id}' is no entity id, which is of the form @name@key")
    _check_length(entity_id)


def _check_length(any_id: str) -> None:
    if len(any_id) > _LONGEST:
        raise _invalid(f"an id has a length of up to {_LONGEST} characters, not {len(any_id)}: '{any_id}'")


def _invalid(message: str) -> HubError:
    return HubError(grpc.StatusCode.INVALID_ARGUMENT, message)
