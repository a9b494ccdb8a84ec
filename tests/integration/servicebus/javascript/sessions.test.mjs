// Sessions and lock renewal as the JavaScript client sees them, in real time: locks last five seconds here.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { client, receive } from "./client.mjs";

after(() => client.close());

const unrenewed = { maxAutoLockRenewalDurationInMs: 0 };
const bodies = (messages) => messages.map((message) => message.body);

describe("sessions", { concurrency: true }, () => {
  test("a session is received in order, deferred and scheduled in, and keeps its state", async () => {
    const to = client.createSender("chats");
    await to.sendMessages([1, 2, 3].map((body) => ({ body, sessionId: "room" })));
    const held = await client.acceptSession("chats", "rooms", "room");
    const [first, second, third] = await receive(held, 3);
    assert.deepEqual(bodies([first, second, third]), [1, 2, 3]);
    await held.deferMessage(first);
    await held.deadLetterMessage(second, { deadLetterReason: "why" });
    await held.abandonMessage(third);
    const [deferred] = await held.receiveDeferredMessages([first.sequenceNumber]);
    await held.completeMessage(deferred);
    const [again] = await receive(held, 1);
    assert.deepEqual([again.body, again.deliveryCount], [3, 1]);
    await held.completeMessage(again);
    await to.scheduleMessages({ body: 4, sessionId: "room" }, new Date(Date.now() + 300));
    await held.setSessionState("at 4");
    const [later] = await receive(held, 1);
    await held.completeMessage(later);
    await held.close();
    const next = await client.acceptSession("chats", "rooms", "room");
    assert.equal(await next.getSessionState(), "at 4");
    await next.close();
    const grave = client.createReceiver("chats", "rooms", { subQueueType: "deadLetter", receiveMode: "receiveAndDelete" });
    assert.deepEqual(bodies(await receive(grave, 1)), [2]);
  });

  test("a wait for the next session ends when there is none in time", async () => {
    const short = { retryOptions: { timeoutInMs: 500, maxRetries: 0 } };
    const { ServiceBusClient } = await import("@azure/service-bus");
    const own = new ServiceBusClient(process.env.SERVICEBUS_CONNECTION_STRING, short);
    await assert.rejects(own.acceptNextSession("sessions"), { code: "ServiceTimeout" });
    await own.close();
  });

  test("a lock that is not renewed is lost, and the session goes to another with the count raised", async () => {
    await client.createSender("talks").sendMessages({ body: "x", sessionId: "lost" });
    const loser = await client.acceptSession("talks", "lost", unrenewed);
    const [message] = await receive(loser, 1);
    await setTimeout(5500);
    await assert.rejects(loser.completeMessage(message), { code: "SessionLockLost" });
    const finder = await client.acceptSession("talks", "lost", unrenewed);
    await assert.rejects(loser.setSessionState("mine"));
    const [again] = await receive(finder, 1);
    assert.equal(again.deliveryCount, 1);
    await finder.completeMessage(again);
    await finder.close();
  });

  test("sessions that are subscribed to are renewed while a handler runs", async () => {
    await client.createSender("talks").sendMessages(["a", "b"].map((body) => ({ body, sessionId: "kept" })));
    const held = await client.acceptSession("talks", "kept");
    const got = [];
    await new Promise((done, failed) => {
      held.subscribe({
        processMessage: async (message) => {
          await setTimeout(message.body === "a" ? 6000 : 0);
          got.push([message.body, message.deliveryCount]);
          if (got.length === 2) done();
        },
        processError: async (problem) => failed(problem.error),
      });
    });
    assert.deepEqual(got, [["a", 0], ["b", 0]]);
    await held.close();
  });

  test("a message that is subscribed to is renewed while its handler runs, then completed", async () => {
    await client.createSender("quick").sendMessages([{ body: "slow" }, { body: "fast" }]);
    const own = client.createReceiver("quick");
    const got = [];
    await new Promise((done, failed) => {
      own.subscribe({
        processMessage: async (message) => {
          await setTimeout(message.body === "slow" ? 6000 : 0);
          got.push([message.body, message.deliveryCount]);
          if (got.length === 2) done();
        },
        processError: async (problem) => failed(problem.error),
      }, { maxConcurrentCalls: 2 });
    });
    assert.deepEqual(got, [["fast", 0], ["slow", 0]]);
    await own.close();
    const left = client.createReceiver("quick");
    assert.deepEqual(await left.peekMessages(9), []);
  });
});
