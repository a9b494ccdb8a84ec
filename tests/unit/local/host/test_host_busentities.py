"""The topology that is made of what bindings name."""

import pytest

from aos.local.host.busentities import topology_of, trigger_entity
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, functions_of


def function(name: str, *bindings: dict[str, object], **settings: str) -> Function:
    described = [
        {"name": f"b{index}", "direction": "OUT" if each["type"] == "serviceBus" else "IN", **each}
        for index, each in enumerate(bindings)
    ]
    return functions_of([{"name": name, "id": name, "bindings": described}], settings)[0]


def trigger(**properties: object) -> dict[str, object]:
    return {"type": "serviceBusTrigger", **properties}


def output(**properties: object) -> dict[str, object]:
    return {"type": "serviceBus", **properties}


TIMER: dict[str, object] = {"type": "timerTrigger", "schedule": "0 0 0 * * *"}


def test_queues_topics_and_subscriptions_are_made_once_with_sessions_where_they_are_wanted() -> None:
    functions = [
        function("a", trigger(queueName="jobs"), output(queueName="answers")),
        function("b", trigger(queueName="Jobs/$DeadLetterQueue")),
        function("c", trigger(topicName="news", subscriptionName="s1", isSessionsEnabled=True)),
        function("d", trigger(topicName="NEWS", subscriptionName="s2/$DeadLetterQueue")),
        function("e", TIMER, output(topicName="alone"), output(queueName="jobs")),
        function("f", trigger(queueName="off"), **{"AzureWebJobs.f.Disabled": "true"}),
    ]
    topology = topology_of(functions)
    assert [queue.name for queue in topology.queues] == ["answers", "jobs"]
    made = {
        topic.name: [(each.name, each.settings.requires_session) for each in topic.subscriptions]
        for topic in topology.topics
    }
    assert made == {"alone": [], "news": [("s1", True), ("s2", False)]}
    assert trigger_entity(functions[3]) == "NEWS/Subscriptions/s2/$DeadLetterQueue"


def test_functions_that_disagree_on_sessions_and_a_queue_that_is_a_topic_are_named() -> None:
    plain, by_session = trigger(queueName="q"), trigger(queueName="q", isSessionsEnabled=True)
    with pytest.raises(HostError, match="functions a and b disagree on whether 'q' has sessions"):
        topology_of([function("a", plain), function("b", by_session)])
    with pytest.raises(HostError, match=r"that the app's bindings name: .*'q' is there twice"):
        topology_of([function("a", plain), function("b", TIMER, output(topicName="q"))])
