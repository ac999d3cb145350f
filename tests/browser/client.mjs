// The rules of web/holdfast.js, with a clock, a socket and a storage of their own: `node client.mjs`.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, mock, test } from "node:test";

const web = new URL("../../web/", import.meta.url);
const source = await readFile(new URL("holdfast.js", web), "utf8");
// Its name does not say that it is a module; browsers are told so by the page.
const { Fault, Holdfast, backOff, isTerminal, newKey, storeFor } = await import(
  `data:text/javascript,${encodeURIComponent(source)}`
);

class Storage {
  #items = new Map();
  getItem(key) { return this.#items.get(key) ?? null; }
  setItem(key, text) { this.#items.set(key, String(text)); }
  removeItem(key) { this.#items.delete(key); }
}

/** A line to a hub that the test plays. */
class Line {
  static all = [];
  sent = [];
  isOpen = true;
  constructor() { Line.all.push(this); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.isOpen = false; }
  hears(...replies) { this.onmessage({ data: replies.map((reply) => JSON.stringify(reply)).join("\n") }); }
  breaks(code = 1006, reason = "") { this.onclose({ code, reason }); }
  /** Answers the newest command of this name, once it was sent. */
  async answers(name, result) {
    await settled();
    const asked = this.sent.findLast((command) => command[name]);
    assert.ok(asked, `no ${name} in ${JSON.stringify(this.sent)}`);
    this.hears({ id: asked.id, ...(result.error ? result : { [name]: result }) });
    await settled();
    return asked[name];
  }
  async welcomes(seats = [], token, id = "s") {
    this.onopen();
    return this.answers("connect", { client: "c", ping: 25, pong: true, data: { session: { id, token }, user: { id: "u" }, seats } });
  }
}

const seat = (fields = {}) => ({ room: "AAAAAA", channel: "table:AAAAAA", seat: 1, team: null, status: "held", hold_seconds: 300, ...fields });
const settled = async () => { for (let turn = 0; turn < 20; turn++) await Promise.resolve(); };
const line = () => Line.all.at(-1);
const sentOf = (name) => line().sent.filter((command) => command[name]);

/** What the page hears of its own life. */
let page;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  page = new EventTarget();
  Line.all = [];
  Object.assign(globalThis, {
    WebSocket: Line,
    sessionStorage: new Storage(),
    localStorage: new Storage(),
    document: Object.assign(new EventTarget(), { hidden: false }),
    addEventListener: page.addEventListener.bind(page),
  });
});
afterEach(() => mock.timers.reset());

async function connected(options = {}, seats = [seat()], token = "hfs_first") {
  const hub = new Holdfast("ws://hub/connection/websocket", options);
  const arrival = hub.connect();
  await line().welcomes(seats, token);
  await arrival;
  return hub;
}

function listen(hub, event) {
  const heard = [];
  hub.on(event, (value) => heard.push(value));
  return heard;
}

test("waits have full jitter between half a second and twenty", () => {
  for (const attempt of [0, 1, 2, 5, 6, 40, 1e9]) {
    const ceiling = Math.min(20_000, 500 * 2 ** Math.min(attempt, 10));
    assert.equal(backOff(attempt, { random: () => 0 }), 500);
    assert.equal(backOff(attempt, { random: () => 1 }), Math.min(20_000, 500 + ceiling));
    const middle = backOff(attempt, { random: () => 0.5 });
    assert.ok(middle > 500 && middle < 20_000, `${attempt}: ${middle}`);
  }
});

test("waits fit into what is left of the hold, and never begin before the hub's own time", () => {
  const random = () => 1;
  assert.equal(backOff(40, { holdLeft: 10_000, random }), 2_500);
  assert.equal(backOff(40, { holdLeft: 100, random }), 500);
  assert.equal(backOff(40, { holdLeft: -5, random }), 20_000, "nothing is left to fit into");
  assert.equal(backOff(0, { retryAfter: 30_000, random }), 30_000);
  assert.equal(backOff(40, { holdLeft: 4_000, retryAfter: 3_000, random }), 3_000);
});

test("codes from 3500 and from 4500 mean to stay away", () => {
  const terminal = [1009, 3500, 3501, 3999, 4500, 4501, 4999];
  const passing = [1000, 1001, 1006, 1008, 1011, 3000, 3001, 3008, 3012, 3499, 4000, 4499, 5000];
  assert.deepEqual(terminal.filter(isTerminal), terminal);
  assert.deepEqual(passing.filter(isTerminal), []);
});

test("tokens are kept per tab, per browser or nowhere, and a page may be denied its storage", () => {
  const denied = { get sessionStorage() { throw new Error("denied"); } };
  assert.equal(storeFor("session"), sessionStorage);
  assert.equal(storeFor("local"), localStorage);
  assert.equal(storeFor("none"), null);
  assert.equal(storeFor("session", denied), null);
  assert.equal(storeFor("session", {}), null, "no page at all");
});

test("a key has 128 bits and is never the same", () => {
  const keys = new Set(Array.from({ length: 1000 }, newKey));
  assert.equal(keys.size, 1000);
  for (const key of keys) assert.match(key, /^[0-9a-f]{32}$/);
});

test("a page that was refreshed comes back with what the last one kept", async () => {
  await connected({ key: "ana" });
  const hub = new Holdfast("ws://hub", { key: "ana" });
  assert.ok(hub.canResume);
  hub.connect();
  const { token } = await line().welcomes([seat()]);
  assert.equal(token, "hfs_first");
  assert.equal(hub.seat.seat, 1);
  assert.ok(!new Holdfast("ws://hub", { key: "bo" }).canResume, "another player of the same tab");
});

test("a lost line is tried again until it is back, and says when the hold is over", async () => {
  const hub = await connected({}, [seat({ hold_seconds: 10 })]);
  const [overdue, states] = [listen(hub, "overdue"), listen(hub, "state")];
  line().breaks();
  assert.equal(hub.heldUntil, 1_010_000);
  for (let second = 0; second < 9; second++) {
    mock.timers.tick(1_000);
    if (hub.state === "connecting") line().breaks();
  }
  const tries = states.filter(({ state }) => state === "waiting");
  assert.ok(tries.length >= 4, `${tries.length} tries`);
  assert.ok(tries.every(({ retryIn }) => retryIn <= 2_500));
  assert.equal(overdue.length, 0);
  mock.timers.tick(1_500);
  assert.equal(overdue.length, 1);
  for (let second = 0; hub.state !== "connecting"; second++) {
    assert.ok(second < 20, "it is tried on, as time without a hub does not count");
    mock.timers.tick(1_000);
  }
  const seats = listen(hub, "seat");
  await line().welcomes([]);
  assert.equal(overdue.length, 1);
  assert.deepEqual([hub.heldUntil, hub.seat, seats], [null, null, [null]]);
});

test("the hub's time to retry is obeyed, and a wake does not jump the queue", async () => {
  const hub = await connected();
  line().breaks();
  mock.timers.tick(1_500);
  line().onopen();
  await line().answers("connect", { error: { code: 100, message: "UNAVAILABLE", temporary: true, retry_after: 7 } });
  const before = Line.all.length;
  page.dispatchEvent(new Event("online"));
  mock.timers.tick(6_900);
  assert.equal(Line.all.length, before);
  assert.equal(hub.state, "waiting");
  mock.timers.tick(200);
  assert.equal(Line.all.length, before + 1);
});

for (const [what, wake] of [
  ["the network is another one", () => page.dispatchEvent(new Event("online"))],
  ["the page is looked at again", () => document.dispatchEvent(new Event("visibilitychange"))],
  ["the machine slept", () => { mock.timers.setTime(Date.now() + 600_000); mock.timers.tick(1_000); }],
]) {
  test(`a line that only looks alive is found out within two seconds once ${what}`, async () => {
    const hub = await connected();
    const dead = line();
    wake();
    mock.timers.tick(2_000);
    assert.equal(line() === dead, false, "a new line is tried");
    assert.equal(dead.isOpen, false);
    await line().welcomes([seat()]);
    assert.equal(hub.state, "connected");
  });
}

test("a line that answers the probe is kept", async () => {
  const hub = await connected();
  for (let wake = 0; wake < 3; wake++) page.dispatchEvent(new Event("online"));
  await line().answers("ping", {});
  for (let second = 0; second < 10; second++) mock.timers.tick(1_000);
  assert.equal(sentOf("ping").length, 1, "one probe at a time");
  assert.equal(hub.state, "connected");
  assert.equal(Line.all.length, 1);
});

test("a page that is put aside hangs up and comes back when it is shown again", async () => {
  const hub = await connected();
  const first = line();
  page.dispatchEvent(new Event("pagehide"));
  assert.equal(first.isOpen, false);
  page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await line().welcomes([seat()]);
  assert.equal(hub.state, "connected");
  assert.equal(hub.seat.seat, 1, "nothing was given up");
});

test("a command whose answer was lost is asked again under its key and answered once", async () => {
  const hub = await connected();
  const repeated = listen(hub, "repeated");
  const answer = hub.call("room.open", { kind: "duel" });
  await settled();
  const [{ rpc: first }] = sentOf("rpc");
  assert.match(first.data.key, /^[0-9a-f]{32}$/);
  line().breaks();
  await settled();
  mock.timers.tick(1_500);
  await line().welcomes([seat()]);
  await settled();
  assert.deepEqual(sentOf("rpc").map(({ rpc }) => rpc), [first]);
  await line().answers("rpc", { data: { room: { code: "BBBBBB" } } });
  assert.deepEqual(await answer, { room: { code: "BBBBBB" } });
  assert.deepEqual(repeated.map(({ key, tries }) => [key, tries]), [[first.data.key, 2]]);
});

test("a command is not asked again in another session, where its key means nothing", async () => {
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const hub = await connected({}, [seat({ token: "seat-1", token_expires_at: until })]);
  const answer = hub.call("room.open");
  await settled();
  line().breaks(3500, "invalid token");
  await settled();
  mock.timers.tick(1_500);
  await Promise.all([assert.rejects(answer, { code: Fault.LOST, temporary: false }), line().welcomes([seat()], "hfs_other", "other")]);
  await settled();
  assert.equal(sentOf("rpc").length, 0);
});

test("what the hub cannot do now is asked again later, what it refuses is not", async () => {
  const hub = await connected();
  const joining = hub.call("room.join", { room: "AAAAAA" }, { key: "k".repeat(32) });
  await line().answers("rpc", { error: { code: 100, message: "UNAVAILABLE", temporary: true, retry_after: 3 } });
  mock.timers.tick(2_900);
  await settled();
  assert.equal(sentOf("rpc").length, 1);
  mock.timers.tick(200);
  await line().answers("rpc", { error: { code: 1002, message: "ROOM_FULL" } });
  await assert.rejects(joining, { code: 1002, temporary: false });
  assert.deepEqual(sentOf("rpc").map(({ rpc }) => rpc.data.key), ["k".repeat(32), "k".repeat(32)]);
});

test("what only reads, and what is said to a room, has no key and is not repeated", async () => {
  const hub = await connected();
  const lost = [hub.call("room.get", { room: "AAAAAA" }), hub.publish("table:AAAAAA", 1)];
  await settled();
  assert.equal(sentOf("rpc")[0].rpc.data.key, undefined);
  line().breaks();
  for (const one of lost) await assert.rejects(one, { code: Fault.LOST, temporary: true });
  mock.timers.tick(1_500);
  await line().welcomes([seat()]);
  assert.equal(sentOf("rpc").length + sentOf("publish").length, 0);
});

test("a seat token is kept, renewed and used when the session is no more", async () => {
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const told = (token) => seat({ token, token_expires_at: until });
  const hub = await connected({}, [told("seat-1")]);
  assert.equal(hub.seatToken, "seat-1");
  line().hears({ push: { message: { data: { type: "seat.token", seat: told("seat-2") } } } });
  assert.equal(hub.seatToken, "seat-2");
  assert.equal(hub.seat.token, undefined, "it is no part of what games show");

  line().breaks(3500, "invalid token");
  mock.timers.tick(1_500);
  assert.equal((await line().welcomes([told("seat-3")], "hfs_second")).token, "seat-2");
  assert.equal(hub.seatToken, "seat-3");
  line().breaks();
  mock.timers.tick(1_500);
  assert.equal((await line().welcomes([told("seat-4")])).token, "hfs_second");
});

test("a seat token that is refused or too old ends the tries", async () => {
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const hub = await connected({}, [seat({ token: "seat-1", token_expires_at: until })]);
  line().breaks(3500, "invalid token");
  mock.timers.tick(1_500);
  line().onopen();
  await line().answers("connect", { error: { code: 109, message: "TOKEN_EXPIRED" } });
  assert.equal(hub.state, "offline");
  assert.equal(hub.canResume, false);

  const other = await connected({ key: "other" }, [seat({ token: "seat-2", token_expires_at: until })]);
  mock.timers.tick(3_600_001);
  assert.equal(other.seatToken, "");
});

test("a tab that was replaced says so, stays away, and can take the seat back", async () => {
  const hub = await connected();
  const replaced = listen(hub, "replaced");
  line().breaks(4501, "replaced by a newer connection");
  mock.timers.tick(60_000);
  assert.equal(hub.state, "offline");
  assert.equal(Line.all.length, 1);
  replaced[0].takeBack();
  assert.equal((await line().welcomes([seat()])).token, "hfs_first");
  assert.equal(hub.state, "connected");
});

test("an explicit leave gives the seat up, and the end of the session forgets it", async () => {
  const hub = await connected();
  const seats = listen(hub, "seat");
  const left = hub.leave();
  assert.equal((await line().answers("rpc", { data: {} })).method, "room.leave");
  await left;
  assert.deepEqual(seats, [null]);
  assert.ok(hub.canResume, "the session is there");
  const ended = hub.end();
  await line().answers("rpc", { data: {} });
  await ended;
  assert.equal(hub.canResume, false);
  assert.equal(hub.state, "offline");
});

test("what was missed comes in order, once, and is counted", async () => {
  const hub = await connected();
  const [heard, back] = [[], listen(hub, "back")];
  hub.subscribe("table:AAAAAA", { onPublication: ({ offset }, isMissed) => heard.push([offset, isMissed]) });
  await line().answers("subscribe", { recoverable: true, epoch: "e", offset: 4 });
  line().hears({ push: { channel: "table:AAAAAA", pub: { data: 1, offset: 5 } } });
  line().breaks();
  mock.timers.tick(1_500);
  await line().welcomes([seat()]);
  const publications = [{ data: 2, offset: 6 }, { data: 3, offset: 7 }];
  const asked = await line().answers("subscribe", { recoverable: true, epoch: "e", offset: 5, publications, recovered: true, was_recovering: true });
  line().hears({ push: { channel: "table:AAAAAA", pub: { data: 3, offset: 7 } } }, { push: { channel: "table:AAAAAA", pub: { data: 4, offset: 8 } } });
  assert.deepEqual(asked, { channel: "table:AAAAAA", recover: true, epoch: "e", offset: 5 });
  assert.deepEqual(heard, [[5, false], [6, true], [7, true], [8, false]]);
  assert.deepEqual([hub.missed, hub.recovered], [2, true]);
  assert.deepEqual(back, [{ channel: "table:AAAAAA", missed: 2, recovered: true }]);
});

test("over HTTP a lost answer is asked for again under its key, at the time that the hub says", async () => {
  const asked = [];
  const problem = { code: "UNAVAILABLE", status: 503, retry_after: 2 };
  const answers = [
    () => { throw new TypeError("the line is down"); },
    () => new Response(JSON.stringify(problem), { status: 503 }),
    () => new Response(JSON.stringify({ session: { token: "hfs_http" }, seat: seat() }), { status: 201 }),
  ];
  globalThis.fetch = async (url, { headers, body }) => {
    asked.push([String(url), headers["idempotency-key"], body]);
    return answers.shift()();
  };
  const hub = new Holdfast("wss://hub.example/connection/websocket");
  const opened = hub.request("POST", "/v1/rooms", { guest: { name: "Ana" } });
  await settled();
  mock.timers.tick(1_000);
  await settled();
  mock.timers.tick(1_900);
  await settled();
  assert.equal(asked.length, 2);
  mock.timers.tick(200);
  assert.equal((await opened).session.token, "hfs_http");
  assert.equal(new Set(asked.map(String)).size, 1);
  assert.equal(asked.length, 3);
  assert.equal(asked[0][0], "https://hub.example/v1/rooms");
  assert.ok(hub.canResume);
  assert.equal(hub.seat.room, "AAAAAA");
});

test("holdfast.d.ts declares what the class has, and nothing else", async () => {
  const types = await readFile(new URL("holdfast.d.ts", web), "utf8");
  const declared = types.slice(types.indexOf("export class Holdfast {"));
  const names = new Set(Array.from(declared.matchAll(/^ {2}(?:readonly )?(\w+)[?(:<]/gm), ([, name]) => name));
  const hub = new Holdfast("ws://hub");
  const has = [...Object.keys(hub), ...Object.getOwnPropertyNames(Holdfast.prototype)];
  assert.deepEqual([...names].sort(), has.sort());
});
