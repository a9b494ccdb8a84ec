"""What the ids of instances and entities may look like."""

from dataclasses import dataclass

import grpc

from aos.local.taskhub.errors import HubError

LONGEST_ID = 100  # characters, as the Durable Task Scheduler takes


@dataclass(frozen=True, slots=True)
class IdRules:
    """Which ids are taken: those of up to `longest` characters."""

    longest: int = LONGEST_ID

    def check_instance(self, instance_id: str) -> None:
        """`HubError` INVALID_ARGUMENT unless this can be the id of an orchestration instance."""
        if instance_id.startswith("@"):
            raise _invalid(f"'{instance_id}': ids with '@' are those of entities")
        self._check_length(instance_id)

    def check_entity(self, entity_id: str) -> None:
        """`HubError` INVALID_ARGUMENT unless this is the id of an entity: `@name@key`."""
        if not entity_id.startswith("@") or not entity_id[1:].partition("@")[0] or entity_id.count("@") < 2:
            raise _invalid(f"'{entity_id}' is no entity id, which is of the form @name@key")
        self._check_length(entity_id)

    def _check_length(self, any_id: str) -> None:
        if len(any_id) > self.longest:
            raise _invalid(
                f"an id has a length of up to {self.longest} characters, not {len(any_id)}: '{any_id}'"
            )


def _invalid(message: str) -> HubError:
    return HubError(grpc.StatusCode.INVALID_ARGUMENT, message)
