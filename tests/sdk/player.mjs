// One player with the stock JavaScript SDK: told what to do on stdin, tells what happens on stdout,
// one JSON object a line. Reconnecting is left to the SDK and its defaults.
import { createRequire } from "node:module";
import readline from "node:readline";

const [modules, url, token, channel] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const { Centrifuge } = load("centrifuge");

const tell = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));

const client = new Centrifuge(url, { token, websocket: load("ws") });
client.on("connected", ({ data }) => tell("connected", { data }));
client.on("connecting", ({ code }) => tell("connecting", { code }));
client.on("disconnected", ({ code }) => tell("disconnected", { code }));

const room = client.newSubscription(channel);
room.on("subscribed", ({ wasRecovering, recovered }) =>
  tell("subscribed", { was_recovering: wasRecovering, recovered }),
);
room.on("unsubscribed", ({ code }) => tell("unsubscribed", { code }));
room.on("publication", ({ data, info, tags }) => tell("publication", { data, info, tags }));

room.subscribe();
client.connect();

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { publish } = JSON.parse(line);
  room.publish(publish).then(
    () => tell("published"),
    (error) => tell("refused", { code: error.code }),
  );
}
process.exit(0);
