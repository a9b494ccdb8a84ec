"""Harm done to what a soak has left, a kind for each thing that its judge looks for: a judge of the judge."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from soak_judge import Judge
from soak_ledger import Ledger
from soak_plan import Plan

_HUB, _BUS, _LEDGER = Path("data/hub.db"), Path("data/servicebus.db"), Path("ledger.db")


@dataclass(frozen=True, slots=True)
class Harm:
    """A change that must not happen, and what the judge must say of it, both with names of `victims`."""

    database: Path
    sql: str
    seen: str


def victims(plan: Plan) -> dict[str, str]:
    """A work of each kind, and an entity or effect of some, by the names that harms use."""
    first = {kind: plan.of(kind)[0] for kind in {work.kind for work in plan.works}}
    jobs = {work.given["topic"]: work.id for work in plan.of("job")}
    refused = [(work.id, n) for work in plan.of("orders") for n, no in enumerate(work.given) if no]
    return {kind: work.id for kind, work in first.items()} | {
        "counter": f"@counter@{first['counts'].given['key']}",
        "account": f"@account@{first['transfer'].given['source']}",
        "archived": jobs[True],
        "refused": "{}/{}".format(*refused[0]),
    }


def _in_state(of: str, change: str) -> str:
    return f"UPDATE entities SET state = {change} WHERE id = '{of}'"


_OPERATION = "'$.operations.\"{counts}/call/0\"'"
_AGAIN = "INSERT INTO messages SELECT id + 1000000, {entity} FROM messages WHERE message_id = '{poison}'"
_COLUMNS = (
    "entity, sequence + 1000000, raw, message_id, session_id, enqueued_ms, state, scheduled_ms, ttl_ms,"
    " delivery_count, lock_token, locked_until_ms, enqueued_sequence, dl_source, dl_reason, dl_description"
)
HARMS = {
    "a run that goes on": Harm(
        _HUB, "UPDATE instances SET status = 0 WHERE id = '{chain}'", "{chain} is RUNNING, not completed"
    ),
    "a run that is lost": Harm(_HUB, "DELETE FROM instances WHERE id = '{fan}'", "{fan} is lost"),
    "a child that goes on": Harm(
        _HUB, "UPDATE instances SET status = 0 WHERE id = '{family}.1'", "{family}.1 is RUNNING"
    ),
    "a wrong sum": Harm(_HUB, "UPDATE instances SET output = '-1' WHERE id = '{fan}'", "{fan}: its output"),
    "a result that no activity gave": Harm(
        _HUB,
        "UPDATE instances SET output = json_set(output, '$.tokens[0]', 'none') WHERE id = '{chain}'",
        "{chain}: step 0 never gave the none",
    ),
    "a foreign receipt": Harm(
        _HUB,
        "UPDATE instances SET output = json_set(output, '$.receipt', 'none') WHERE id = '{chain}'",
        "{chain}: its receipt is not that of the charge",
    ),
    "a distant result that no activity gave": Harm(
        _HUB,
        "UPDATE instances SET output = json_set(output, '$[1]', 'none') WHERE id = '{outsourced}'",
        "{outsourced}: step 0 never gave the none",
    ),
    "a distant result too few": Harm(
        _HUB,
        "UPDATE instances SET output = json_remove(output, '$[1]') WHERE id = '{outsourced}'",
        "{outsourced}: it gave",
    ),
    "a step that did not run": Harm(
        _LEDGER, "DELETE FROM attempts WHERE effect = '{chain}/0'", "{chain}: step 0 was run after"
    ),
    "a step after two results": Harm(
        _LEDGER,
        "INSERT INTO attempts VALUES ('{chain}/1', 'none', 'none')",
        "{chain}: step 1 was run after different results",
    ),
    "a step after a result that was not": Harm(
        _LEDGER,
        "UPDATE attempts SET given = 'none' WHERE effect = '{renewing}/1'",
        "{renewing}: step 1 was run after {{'none'}}, which",
    ),
    "an event that comes twice": Harm(
        _HUB,
        "UPDATE instances SET output = json_insert(output, '$[#]', json_extract(output, '$[0]'))"
        " WHERE id = '{collector}'",
        "{collector}: event {collector}/0",
    ),
    "an event that is lost": Harm(
        _HUB,
        "UPDATE instances SET output = '[]' WHERE id = '{collector}'",
        "{collector}: it collected",
    ),
    "work for nobody": Harm(
        _HUB,
        "INSERT INTO inbox VALUES (1000000, '@counter@c0', NULL, 0, 'signal', NULL, x'')",
        "the hub keeps 1 rows of inbox for nobody",
    ),
    "a lock that is not given back": Harm(
        _HUB,
        "UPDATE entities SET locked_by = '{transfer}' WHERE id = '{account}'",
        "{account} is still locked by {transfer}",
    ),
    "an entity update that is lost": Harm(
        _HUB,
        _in_state("{counter}", f"json_remove(state, {_OPERATION})"),
        "{counter} lost {counts}/call/0",
    ),
    "an entity update that is doubled": Harm(
        _HUB,
        _in_state("{counter}", f"json_set(state, {_OPERATION}, 2)"),
        "{counter} carried out {counts}/call/0 2 times",
    ),
    "an entity update from nowhere": Harm(
        _HUB,
        _in_state("{counter}", "json_set(state, '$.operations.nobody', 1)"),
        "{counter} carried out nobody, for which nobody asked",
    ),
    "a signal that is lost": Harm(
        _LEDGER, "INSERT INTO updates VALUES ('{counter}', 'sent', 1)", "{counter} lost sent"
    ),
    "money that is lost": Harm(
        _HUB,
        _in_state("{account}", "json_set(state, '$.balance', json_extract(state, '$.balance') - 1)"),
        "the balances are {{",
    ),
    "an effect that is doubled": Harm(
        _LEDGER,
        "INSERT INTO effects (effect, receipt) VALUES ('{transfer}/fee', 'again')",
        "effect {transfer}/fee happened 2 times",
    ),
    "an effect that is lost": Harm(
        _LEDGER,
        "DELETE FROM effects WHERE effect = '{transfer}/fee'",
        "effect {transfer}/fee did not happen",
    ),
    "an effect from nowhere": Harm(
        _LEDGER,
        "INSERT INTO effects (effect, receipt) VALUES ('none', 'none')",
        "effect none happened, for which nobody asked",
    ),
    "a message that is not settled": Harm(
        _BUS, _AGAIN.format(entity="'jobs', " + _COLUMNS.partition(", ")[2], poison="{poison}"),
        "{poison} is left in jobs",
    ),
    "a dead letter that is lost": Harm(
        _BUS,
        "DELETE FROM messages WHERE message_id = '{poison}'",
        "{poison} is not in the dead-letter queue of poison",
    ),
    "a refused message that is lost": Harm(
        _BUS,
        "DELETE FROM messages WHERE message_id = '{refused}'",
        "{refused} is not in the dead-letter queue of orders",
    ),
    "a dead letter that is doubled": Harm(
        _BUS, _AGAIN.format(entity=_COLUMNS, poison="{poison}"),
        "{poison} is 2 times in the dead-letter queue of poison",
    ),
    "a dead letter for no good reason": Harm(
        _BUS,
        "UPDATE messages SET dl_reason = 'TTLExpiredException' WHERE message_id = '{poison}'",
        "{poison} is dead-lettered in poison because of TTLExpiredException",
    ),
    "a message that never came": Harm(
        _LEDGER, "DELETE FROM deliveries WHERE message = '{job}'", "{job} of jobs was never delivered"
    ),
    "a copy that never came": Harm(
        _LEDGER,
        "DELETE FROM deliveries WHERE message = '{archived}' AND queue = 'news/archive'",
        "{archived} of news/archive was never delivered",
    ),
    "a message that went before it was handled": Harm(
        _LEDGER,
        "DELETE FROM deliveries WHERE message = '{job}' AND event = 'handled'",
        "{job} of jobs was delivered, and lost before it was handled",
    ),
    "a message that its queue took twice": Harm(
        _LEDGER,
        "INSERT INTO deliveries VALUES (NULL, 'jobs', NULL, '{job}', 1000000, 1, 'taken')",
        "{job} was in jobs 2 times",
    ),
    "a message that comes after its settlement": Harm(
        _LEDGER,
        "INSERT INTO deliveries SELECT NULL, queue, session, message, sequence, delivery - 1, 'settled'"
        " FROM deliveries WHERE message = '{orders}/1' AND event = 'taken'",
        "{orders}/1 of orders came again after it was settled",
    ),
    "a session out of order": Harm(
        _LEDGER,
        "UPDATE deliveries SET number = -number WHERE message = '{orders}/1' AND event = 'taken'",
        "session {orders} was handled in the order",
    ),
    "a session of the host's out of order": Harm(
        _LEDGER,
        "UPDATE deliveries SET number = -number WHERE message = '{tickets}/1' AND event = 'taken'",
        "session {tickets} was handled in the order",
    ),
    "an output that is lost": Harm(
        _LEDGER,
        "DELETE FROM deliveries WHERE message = '{archived}' AND queue = 'piles'",
        "{archived} of piles was never delivered",
    ),
    "a message that is delivered too often": Harm(
        _LEDGER,
        "WITH four (n) AS (VALUES (1), (2), (3), (4)) INSERT INTO deliveries"
        " SELECT NULL, queue, session, message, sequence, delivery, event"
        " FROM deliveries JOIN four WHERE message = '{poison}'",
        "{poison} was delivered",
    ),
}  # fmt: skip


def violations_after(harm: Harm, of: dict[str, str], plan: Plan, folder: Path, scratch: Path) -> list[str]:
    """What the judge says of a copy of the folder's databases to which the harm is done."""
    for database in (_HUB, _BUS, _LEDGER):
        (scratch / database).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / database, scratch / database)
    with closing(sqlite3.connect(scratch / harm.database)) as connection:
        changed = connection.execute(harm.sql.format(**of)).rowcount
        connection.commit()
    assert changed, f"there is nothing to harm: {harm.sql.format(**of)}"
    return Judge(scratch / "data", plan, Ledger(scratch / "ledger.db")).violations()
