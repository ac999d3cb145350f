// One player with the stock JavaScript SDK: told what to do on stdin, tells what happens on stdout,
// one JSON object a line. Reconnecting is left to the SDK and its defaults.
import { createRequire } from "node:module";
import readline from "node:readline";

const [modules, url, token, channel, encoding] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const isProtobuf = encoding === "protobuf";
const { Centrifuge } = load(isProtobuf ? "centrifuge/build/protobuf" : "centrifuge");

// In Protobuf the SDK hands out payloads as the bytes they are.
const read = (data) => (isProtobuf ? JSON.parse(new TextDecoder().decode(data)) : data);
const write = (data) => (isProtobuf ? new TextEncoder().encode(JSON.stringify(data)) : data);

const tell = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));

const client = new Centrifuge(url, { token, websocket: load("ws") });
client.on("connected", ({ data }) => tell("connected", { data: read(data) }));
client.on("connecting", ({ code }) => tell("connecting", { code }));
client.on("disconnected", ({ code }) => tell("disconnected", { code }));
client.on("error", ({ type, error }) => { if (type === "connect") tell("refused", { code: error.code }); });

const room = client.newSubscription(channel);
room.on("subscribed", ({ wasRecovering, recovered }) =>
  tell("subscribed", { was_recovering: wasRecovering, recovered }),
);
room.on("unsubscribed", ({ code }) => tell("unsubscribed", { code }));
room.on("publication", ({ data, info, tags }) => tell("publication", { data: read(data), info, tags }));

room.subscribe();
client.connect();

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { publish } = JSON.parse(line);
  room.publish(write(publish)).then(
    () => tell("published"),
    (error) => tell("unpublished", { code: error.code }),
  );
}
process.exit(0);
