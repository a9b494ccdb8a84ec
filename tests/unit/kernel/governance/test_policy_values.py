import json

from aos.kernel.governance.policy import Entity, PolicyDecision, PolicyRequest, Verdict


def test_a_request_survives_json():
    user = Entity("User", "ada")
    request = PolicyRequest(
        principal=user,
        action="tool.call",
        resource=Entity("Tool", "reserve_funds"),
        context={"tenant": "t", "labels": ["internal"]},
        entities={user: {"roles": ["operator"]}},
    )
    assert PolicyRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_decision_survives_json():
    decision = PolicyDecision(Verdict.REQUIRES_APPROVAL, ("large",), ("board",))
    assert PolicyDecision.from_json(json.loads(json.dumps(decision.to_json()))) == decision
    assert not decision.allowed
