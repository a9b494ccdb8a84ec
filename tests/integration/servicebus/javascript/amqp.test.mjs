// A plain AMQP 1.0 client, with the smallest frames there are: whatever the SDKs do not do themselves.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import rhea from "rhea";

const settings = Object.fromEntries(
  process.env.SERVICEBUS_CONNECTION_STRING.split(";").filter(Boolean).map((part) => {
    const at = part.indexOf("=");
    return [part.slice(0, at), part.slice(at + 1)];
  }),
);
const { hostname, port } = new URL(settings.Endpoint.replace("sb:", "http:"));
let connection;
before(() => {
  connection = rhea.create_container().connect({
    host: hostname,
    port: Number(port),
    username: settings.SharedAccessKeyName,
    password: settings.SharedAccessKey,
    max_frame_size: 512,
    idle_time_out: 5000,
    reconnect: false,
  });
});
after(() => connection.close());

test("messages in many frames arrive whole, and every outcome has its effect", async () => {
  const sender = connection.open_sender("raw");
  await once(sender, "sendable");
  const bodies = { accept: "a", release: "b".repeat(20_000), modify: "c", reject: "d".repeat(1_000), last: "e" };
  for (const [message_id, body] of Object.entries(bodies)) sender.send({ message_id, body });
  const receiver = connection.open_receiver({ source: "raw", autoaccept: false, credit_window: 0 });
  const seen = [];
  await new Promise((done) => {
    receiver.on("message", ({ message, delivery }) => {
      const { message_id, body, delivery_count } = message;
      seen.push([message_id, delivery_count]);
      assert.equal(body, bodies[message_id]);
      const first = seen.filter(([id]) => id === message_id).length === 1;
      if (message_id === "release" && first) delivery.release();
      else if (message_id === "modify" && first) delivery.modified({ delivery_failed: true });
      else if (message_id === "reject") delivery.reject({ condition: "my:fault", description: "why" });
      else delivery.accept();
      if (seen.length === 7) done();
      else receiver.add_credit(1);
    });
    receiver.add_credit(1); // of several settled at once, this client gives the first two one outcome
  });
  const firsts = Object.keys(bodies).map((id) => [id, 0]);
  assert.deepEqual(seen.sort(), [...firsts, ["modify", 1], ["release", 0]].sort());

  const grave = connection.open_receiver({ source: "raw/$DeadLetterQueue", snd_settle_mode: 1 });
  const [{ message }] = await once(grave, "message");
  assert.equal(message.application_properties.DeadLetterReason, "my:fault");
});

test("a link to what is not there is refused and the connection goes on", async () => {
  const [{ receiver }] = await once(connection.open_receiver("nowhere"), "receiver_error");
  assert.equal(receiver.error.condition, "amqp:not-found");
  await once(connection.open_sender("raw"), "sendable");
});
