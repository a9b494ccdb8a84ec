// A client of the broker whose connection string is in the environment.
import assert from "node:assert/strict";
import { ServiceBusClient } from "@azure/service-bus";

export const client = new ServiceBusClient(process.env.SERVICEBUS_CONNECTION_STRING, { retryOptions: { maxRetries: 0 } });

export async function receive(from, count) {
  const messages = [];
  while (messages.length < count) {
    const more = await from.receiveMessages(count - messages.length, { maxWaitTimeInMs: 5000 });
    assert.notEqual(more.length, 0, "a message is missing");
    messages.push(...more);
  }
  return messages;
}
