// The JavaScript client on the local broker; run by node --test with the connection string in the environment.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { client, receive } from "./client.mjs";

let sender;
let receiver;
before(() => {
  sender = client.createSender("plain");
  receiver = client.createReceiver("plain");
});
after(() => client.close());

test("a message arrives with its properties, is renewed and completed", async () => {
  const applicationProperties = { number: 1, text: "ü", flag: true };
  await sender.sendMessages({ body: { a: [1] }, messageId: "m", subject: "s", correlationId: "c", applicationProperties });
  const [message] = await receive(receiver, 1);
  assert.deepEqual(message.body, { a: [1] });
  assert.deepEqual([message.messageId, message.subject, message.correlationId], ["m", "s", "c"]);
  assert.deepEqual(message.applicationProperties, applicationProperties);
  assert.ok((await receiver.renewMessageLock(message)) >= message.lockedUntilUtc);
  await receiver.completeMessage(message);
  assert.equal((await receiver.receiveMessages(1, { maxWaitTimeInMs: 200 })).length, 0);
});

test("a batch is settled in every way", async () => {
  const batch = await sender.createMessageBatch();
  for (const body of ["complete", "abandon", "defer", "bury"]) assert.ok(batch.tryAddMessage({ body }));
  await sender.sendMessages(batch);
  const [complete, abandon, defer, bury] = await receive(receiver, 4);
  assert.ok(complete.messageId, "the broker gives an id to a message without one");
  await receiver.completeMessage(complete);
  await receiver.abandonMessage(abandon);
  await receiver.deferMessage(defer);
  await receiver.deadLetterMessage(bury, { deadLetterReason: "why", deadLetterErrorDescription: "because" });
  const [again] = await receive(receiver, 1);
  assert.deepEqual([again.body, again.deliveryCount], ["abandon", 1]);
  await receiver.completeMessage(again);
  const [deferred] = await receiver.receiveDeferredMessages([defer.sequenceNumber]);
  assert.equal(deferred.body, "defer");
  await receiver.completeMessage(deferred);
  const grave = client.createReceiver("plain", { subQueueType: "deadLetter", receiveMode: "receiveAndDelete" });
  const [dead] = await receive(grave, 1);
  assert.deepEqual([dead.body, dead.deadLetterReason, dead.deadLetterErrorDescription], ["bury", "why", "because"]);
  assert.equal((await grave.peekMessages(1)).length, 0);
});

test("properties are modified by every settlement that keeps the message", async () => {
  const applicationProperties = { kept: 1, step: 0 };
  await sender.sendMessages(["abandon", "defer", "bury"].map((body) => ({ body, applicationProperties })));
  const [abandon, defer, bury] = await receive(receiver, 3);
  await receiver.abandonMessage(abandon, { step: 1, why: "ü", real: 0.5, flag: true });
  await receiver.deferMessage(defer, { step: 2 });
  await receiver.deadLetterMessage(bury, { deadLetterReason: "why", step: 3 });

  const [again] = await receive(receiver, 1);
  const expected = { kept: 1, step: 1, why: "ü", real: 0.5, flag: true };
  assert.deepEqual([again.body, again.applicationProperties], ["abandon", expected]);
  await receiver.completeMessage(again);

  const [deferred] = await receiver.receiveDeferredMessages([defer.sequenceNumber]);
  assert.deepEqual(deferred.applicationProperties, { kept: 1, step: 2 });
  await receiver.abandonMessage(deferred, { step: 4, more: "x" });
  const [later] = await receiver.receiveDeferredMessages([defer.sequenceNumber]);
  assert.deepEqual(later.applicationProperties, { kept: 1, step: 4, more: "x" });
  await receiver.deadLetterMessage(later, { deadLetterReason: "late", step: 5 });

  const grave = client.createReceiver("plain", { subQueueType: "deadLetter", receiveMode: "receiveAndDelete" });
  const dead = await receive(grave, 2);
  const properties = Object.fromEntries(dead.map((message) => [message.body, message.applicationProperties]));
  assert.deepEqual(properties, {
    bury: { kept: 1, step: 3, DeadLetterReason: "why" },
    defer: { kept: 1, step: 5, more: "x", DeadLetterReason: "late" },
  });
});

test("a scheduled message is peeked and cancelled", async () => {
  const [number] = await sender.scheduleMessages([{ body: "later" }], new Date(Date.now() + 3_600_000));
  const [peeked] = await receiver.peekMessages(1, { fromSequenceNumber: number });
  assert.deepEqual([peeked.body, peeked.state], ["later", "scheduled"]);
  await sender.cancelScheduledMessages([number]);
  assert.equal((await receiver.peekMessages(1, { fromSequenceNumber: number })).length, 0);
});

test("many messages are scheduled at once, and some of them cancelled", async () => {
  const own = client.createReceiver("fleeting", { receiveMode: "receiveAndDelete" });
  const to = client.createSender("fleeting");
  const bodies = ["first", "second", "third"].map((body) => ({ body }));
  const numbers = await to.scheduleMessages(bodies, new Date(Date.now() + 1000));
  await to.cancelScheduledMessages([numbers[0], numbers[2]]);
  await assert.rejects(to.cancelScheduledMessages([numbers[0]]), { code: "MessageNotFound" });
  const [message] = await receive(own, 1);
  assert.equal(message.body, "second");
  await own.close();
});

test("a batch takes no more than its limit, and is refused above it", async () => {
  const batch = await sender.createMessageBatch();
  assert.equal(batch.maxSizeInBytes, 256 * 1024);
  const body = "x".repeat(100_000);
  assert.deepEqual([1, 2, 3].map(() => batch.tryAddMessage({ body })), [true, true, false]);
  const own = client.createReceiver("unread", { receiveMode: "receiveAndDelete" });
  const to = client.createSender("unread");
  await to.sendMessages(batch);
  await assert.rejects(to.sendMessages([{ body }, { body }, { body }]), { code: "MessageSizeExceeded" });
  assert.deepEqual((await receive(own, 2)).map((message) => message.body), [body, body]);
  assert.equal((await own.peekMessages(1)).length, 0);
});

test("a message id is accepted once", async () => {
  await client.createSender("unique").sendMessages([{ body: 1, messageId: "a" }, { body: 2, messageId: "b" }]);
  await client.createSender("unique").sendMessages({ body: 3, messageId: "a" });
  const own = client.createReceiver("unique", { receiveMode: "receiveAndDelete" });
  assert.deepEqual((await receive(own, 2)).map((message) => message.body), [1, 2]);
  assert.equal((await own.peekMessages(1)).length, 0);
});

test("messages are peeked in pages, those of a subscription and of dead letters too", async () => {
  const to = client.createSender("failures");
  await to.sendMessages(["a", "b", "c"].map((body) => ({ body })));
  const own = client.createReceiver("failures", "all");
  const pages = [await own.peekMessages(2), await own.peekMessages(2), await own.peekMessages(2)];
  assert.deepEqual(pages.map((page) => page.map((message) => message.body)), [["a", "b"], ["c"], []]);
  const [first, ...others] = await receive(own, 3);
  await own.deadLetterMessage(first, { deadLetterReason: "why" });
  for (const message of others) await own.completeMessage(message);
  const grave = client.createReceiver("failures", "all", { subQueueType: "deadLetter" });
  const [peeked] = await grave.peekMessages(9);
  assert.deepEqual([peeked.body, peeked.deadLetterReason], ["a", "why"]);
  const [dead] = await receive(grave, 1);
  await grave.completeMessage(dead);
});

test("a full queue and a disabled one have their own errors", async () => {
  const body = "x".repeat(250_000);
  const to = client.createSender("small");
  for (let count = 0; count < 4; count++) await to.sendMessages({ body });
  await assert.rejects(to.sendMessages({ body }), { code: "QuotaExceeded" });
  await assert.rejects(client.createSender("closed").sendMessages({ body: 1 }), { code: "MessagingEntityDisabled" });
});

test("what is too large or unknown has its own error", async () => {
  await assert.rejects(sender.sendMessages({ body: "x".repeat(300_000) }), { code: "MessageSizeExceeded" });
  const nowhere = client.createReceiver("nowhere");
  await assert.rejects(nowhere.receiveMessages(1, { maxWaitTimeInMs: 500 }), { code: "MessagingEntityNotFound" });
});

test("a subscribed handler gets messages as they come", async () => {
  const own = client.createReceiver("fleeting");
  const bodies = [];
  await new Promise((done, failed) => {
    own.subscribe({
      processMessage: async (message) => {
        bodies.push(message.body);
        if (bodies.length === 3) done();
      },
      processError: async (problem) => failed(problem.error),
    });
    client.createSender("fleeting").sendMessages([{ body: 1 }, { body: 2 }, { body: 3 }]).catch(failed);
  });
  assert.deepEqual(bodies, [1, 2, 3]);
});

test("the next session is accepted, held, and keeps its state", async () => {
  const sessions = client.createSender("sessions");
  await sessions.sendMessages([{ body: "one", sessionId: "A" }, { body: "two", sessionId: "A" }]);
  const held = await client.acceptNextSession("sessions");
  assert.equal(held.sessionId, "A");
  await assert.rejects(client.acceptSession("sessions", "A"), { code: "SessionCannotBeLocked" });
  await held.setSessionState({ step: 1 });
  assert.deepEqual(await held.getSessionState(), { step: 1 });
  await held.renewSessionLock();
  const messages = await receive(held, 2);
  assert.deepEqual(messages.map((message) => message.body), ["one", "two"]);
  for (const message of messages) await held.completeMessage(message);
});

test("a rule with an action changes what comes by it", async () => {
  const manager = client.createRuleManager("acted", "acting");
  await manager.deleteRule("$Default");
  await manager.createRule("acts", { sqlExpression: "1=1" }, { sqlExpression: "SET size = size + 1; SET sys.Label = 'l'" });
  for await (const rule of manager.listRules()) {
    assert.deepEqual([rule.name, rule.action.sqlExpression], ["acts", "SET size = size + 1; SET sys.Label = 'l'"]);
  }
  await client.createSender("acted").sendMessages({ body: "b", applicationProperties: { size: 1 } });
  const [message] = await receive(client.createReceiver("acted", "acting", { receiveMode: "receiveAndDelete" }), 1);
  assert.deepEqual([message.subject, message.applicationProperties], ["l", { size: 2, RuleName: "acts" }]);
});

test("a subscription gets what its rules match", async () => {
  await client.createSender("events").sendMessages([{ body: "no" }, { body: "yes", subject: "error" }]);
  const [message] = await receive(client.createReceiver("events", "errors"), 1);
  assert.equal(message.body, "yes");
});

test("rules are added, listed and removed, and messages follow them", async () => {
  const manager = client.createRuleManager("ruled", "changing");
  const listed = async () => {
    const rules = [];
    for await (const rule of manager.listRules()) rules.push(rule);
    return rules.filter((rule) => rule); // of no rules the client makes one that is undefined
  };
  assert.deepEqual((await listed()).map((rule) => [rule.name, rule.filter]), [["$Default", { sqlExpression: "1=1" }]]);
  await manager.deleteRule("$Default");
  assert.deepEqual(await listed(), []);
  await manager.createRule("large", { sqlExpression: "size > 5" });
  await manager.createRule("Red", { subject: "red", applicationProperties: { round: true } });
  await assert.rejects(manager.createRule("RED", { sqlExpression: "1=1" }));
  await assert.rejects(manager.createRule("bad", { sqlExpression: "size >" }));
  await assert.rejects(manager.createRule("bad", { sqlExpression: "1=1" }, { sqlExpression: "SET" }), /expected a property/);
  await assert.rejects(manager.deleteRule("none"));
  const [large, red] = await listed();
  assert.deepEqual([large.name, large.filter], ["large", { sqlExpression: "size > 5" }]);
  assert.deepEqual([red.name, red.filter.subject, red.filter.applicationProperties], ["Red", "red", { round: true }]);

  await client.createSender("ruled").sendMessages([
    { body: "none", applicationProperties: { size: 5 } },
    { body: "large", applicationProperties: { size: 6 } },
    { body: "red", subject: "red", applicationProperties: { round: true } },
    { body: "flat", subject: "red" },
  ]);
  const from = client.createReceiver("ruled", "changing", { receiveMode: "receiveAndDelete" });
  assert.deepEqual((await receive(from, 2)).map((message) => message.body), ["large", "red"]);
  assert.equal((await from.peekMessages(1)).length, 0);
});
