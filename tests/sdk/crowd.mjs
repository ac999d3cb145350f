// A crowd with the stock JavaScript SDK in one process: each has a line of its own and says something every
// now and then. Told who they are in the first line of stdin and to finish in the second; tells what happens on
// stdout, one JSON object a line, and at the end what each has said and heard.
import { createRequire } from "node:module";
import readline from "node:readline";

const [modules] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const { Centrifuge } = load("centrifuge");

const SPEAK_EVERY = 50;
// Nobody falls silent before so many of its words were acknowledged.
const WORDS_MIN = 20;
// As patient as a player's own SDK, only quicker, so that a thousand returns take seconds.
const HASTE = { minReconnectDelay: 10, maxReconnectDelay: 200, timeout: 1500, maxServerPingDelay: 500 };

const tell = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));

class Member {
  said = 0;
  acknowledged = [];
  heard = [];
  lost = 0;
  seats = [];
  isSpeaking = true;

  constructor(number, { url, token, channel }) {
    this.number = number;
    const client = new Centrifuge(url, { token, websocket: load("ws"), ...HASTE });
    client.on("connected", ({ data }) => {
      this.seats.push(data.seats);
      tell("connected", { player: number });
    });
    client.on("disconnected", ({ code }) => tell("gone", { player: number, code }));
    this.room = client.newSubscription(channel, HASTE);
    this.room.on("subscribed", ({ wasRecovering, recovered }) => {
      this.lost += wasRecovering && !recovered ? 1 : 0;
    });
    this.room.on("unsubscribed", ({ code }) => tell("gone", { player: number, code }));
    this.room.on("publication", ({ offset, data, tags }) => {
      this.heard.push({ offset, data: tags?.from === "hub" ? null : data });
    });
    this.room.subscribe();
    client.connect();
  }

  async speak() {
    while (this.isSpeaking || this.acknowledged.length < WORDS_MIN) {
      const data = `${this.number}: ${this.said++}`;
      // Without an answer nobody knows whether it was said: it counts for nothing.
      await this.room.publish(data).then(
        () => this.acknowledged.push(data),
        () => {},
      );
      await new Promise((done) => setTimeout(done, SPEAK_EVERY));
    }
    tell("silent", { player: this.number });
  }
}

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const order = async () => JSON.parse((await lines.next()).value);

const members = (await order()).map((player, number) => new Member(number, player));
// Whoever speaks is heard by all.
await Promise.all(members.map(({ room }) => room.ready()));
for (const member of members) member.speak();
await order();
for (const member of members) member.isSpeaking = false;
// Until all have heard this.
const { tops } = await order();
const isDone = (member, number) => member.heard.at(-1)?.offset >= tops[number];
while (!members.every(isDone)) await new Promise((done) => setTimeout(done, 10));
for (const { number, acknowledged, heard, lost, seats } of members) {
  tell("report", { player: number, acknowledged, heard, lost, seats });
}
// A pipe takes a report in pieces.
await new Promise((done) => process.stdout.write("", done));
process.exit(0);
