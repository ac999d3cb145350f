/**
 * The Holdfast client: one file, no dependencies, for any page or game that runs JavaScript modules.
 *
 *     const hub = new Holdfast("wss://hub.example/connection/websocket", { name: "Ana" });
 *     await hub.connect();
 *     const { room } = await hub.call("room.open", { kind: "table" });
 *     await hub.subscribe(room.channel, { onPublication: ({ data }) => console.log(data) });
 *     await hub.publish(room.channel, { text: "hello" });
 *
 * A lost line comes back by itself: same session, same seat, and every subscription goes on where it was.
 *
 * @typedef {{epoch: string, offset: number}} Position How far a stream was heard.
 * @typedef {{data: any, offset?: number, info?: {user: string, client: string, conn_info?: any, chan_info?: any},
 *   tags?: Record<string, string>, time?: number}} Publication
 * @typedef {{room: string, channel: string, seat: number, team: string|null, status: string, hold_seconds: number}} Seat
 * @typedef {{session: {id: string, expires_at: string}, user: {id: string, name: string}, seats: Seat[]}} Welcome
 * @typedef {{wasRecovering: boolean, recovered: boolean, missed: number}} Subscribed `missed` publications follow at
 *   once. Was recovering but not recovered: something may have been missed, so load the state of the game anew.
 * @typedef {Object} Handlers
 * @property {(publication: Publication, isMissed: boolean) => void} [onPublication]
 * @property {(how: Subscribed) => void} [onSubscribed] At first, and each time the line is back.
 * @property {(why: {code: number, reason: string}) => void} [onUnsubscribed] For good.
 * @property {(info: any) => void} [onJoin]
 * @property {(info: any) => void} [onLeave]
 * @property {Position} [since] Go on from here, as after a page refresh: keep it with the state that it belongs to.
 * @typedef {Object} Options
 * @property {string} [name] The shown name of a guest.
 * @property {string | (() => string | Promise<string>)} [token] A login of the game, for whoever has no session yet.
 * @property {"session"|"local"|"none"} [storage] Where the session token is kept: per tab, which survives a refresh (the
 *   default), per browser, or nowhere.
 * @property {string} [key] Tells players apart who share a storage.
 * @typedef {"connecting"|"connected"|"waiting"|"offline"} State
 */

/** Errors of this side; the hub's own codes are 100 and above. */
export const Fault = Object.freeze({ TIMEOUT: 1, LOST: 2, OFFLINE: 3, FULL: 4 });

/** What went wrong. `temporary`: the same again may work. With LOST and TIMEOUT it may have been done nonetheless. */
export class HoldfastError extends Error {
  code = 0; temporary = false;
  /** @param {number} code @param {string} message @param {boolean} [temporary] */
  constructor(code, message, temporary = false) {
    super(message);
    Object.assign(this, { name: "HoldfastError", code, temporary });
  }
}

const BACK_OFF_MIN = 500; // ms; the first attempt comes after half of this on average
const BACK_OFF_MAX = 20_000; // ms
const ANSWER_WITHIN = 5_000; // ms; the hub itself gives up on a command after 4 s
const SILENCE_GRACE = 10_000; // ms past the announced ping, as in the other client libraries
const COMMANDS_MAX = 128; // waiting or unanswered; a hub takes bursts of 200, subscriptions among them
const UNSENT_MAX = 1 << 20; // bytes the socket may hold back before commands are refused

const backOff = (attempt) => Math.random() * Math.min(BACK_OFF_MAX, BACK_OFF_MIN * 2 ** Math.min(attempt, 10));

/** Codes after which it is no use to come back. @param {number} code */
const isTerminal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000) || code === 1009;

/** A listener that fails must not cost the client its place. */
const tell = (listener, ...values) => { try { listener?.(...values); } catch (error) { console.error(error); } };

export class Holdfast {
  /** @type {State} */ state = "offline";
  /** @type {Welcome|null} */ welcome = null;
  #url; #options; #store; #socket = null; #arrival = null;
  #token = ""; // of the session, where no storage keeps it
  #lastId = 0; #attempt = 0; #retry = 0; #silence = 0; #ping = 0;
  #commands = new Map(); #channels = new Map(); #listeners = new Map();

  /** @param {string} url of the WebSocket @param {Options} [options] */
  constructor(url, options = {}) {
    [this.#url, this.#options] = [url, options];
    const policy = options.storage ?? "session";
    try { // A page may be denied its storage.
      this.#store = policy === "local" ? globalThis.localStorage : policy === "session" ? globalThis.sessionStorage : null;
    } catch { this.#store = null; }
  }

  /** `state` {state, code?, reason?, retryIn?}; `connected` Welcome; `message`, from the hub to this client alone; `frame`
   *  {direction: "in"|"out", text}. @param {"state"|"connected"|"message"|"frame"} event
   *  @param {(value: any) => void} listener @returns {() => void} takes the listener away */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Whether a session token is kept, so that `connect` will resume. */
  get canResume() { return this.#sessionToken !== ""; }
  /** Connects, or resumes, and stays until `disconnect`. @returns {Promise<Welcome>} */
  connect() {
    if (this.state === "connected") return Promise.resolve(/** @type {Welcome} */ (this.welcome));
    if (!this.#arrival) {
      const arrival = {};
      arrival.promise = new Promise((resolve, reject) => Object.assign(arrival, { resolve, reject }));
      arrival.promise.catch(() => {}); // Told by `state` too: nobody has to wait for it.
      this.#arrival = arrival;
    }
    if (this.state === "offline") this.#open();
    return this.#arrival.promise;
  }

  /** Hangs up and stays away. The seat is kept for its hold; `connect` resumes. */
  disconnect() { this.#end(Fault.OFFLINE, "disconnected"); }
  /** Cuts the line as a bad network would; it comes back by itself. */
  drop() { if (this.#socket) this.#lost(1006, "line dropped"); }
  /** Forgets the session: the next `connect` is somebody new. To end it at the hub too, call `session.end` before. */
  forget() { this.#sessionToken = ""; }

  /** Hears a channel until `unsubscribe`, across lost lines.
   *  @param {string} channel @param {Handlers} [handlers] @returns {Promise<Subscribed>} the first time */
  subscribe(channel, handlers = {}) {
    if (this.#channels.has(channel)) return Promise.reject(new HoldfastError(105, "already subscribed"));
    return new Promise((resolve, reject) => {
      const { since, ...rest } = handlers;
      const entry = { channel, handlers: rest, resolve, reject, attempt: 0, retry: 0, joining: null, epoch: "", offset: 0, recover: !!since, ...since };
      this.#channels.set(channel, entry);
      if (this.state === "connected") this.#join(entry);
    });
  }

  /** @param {string} channel */
  async unsubscribe(channel) {
    if (this.#leave(channel, 0, "unsubscribed") && this.state === "connected") await this.#command({ unsubscribe: { channel } });
  }
  /** How far a channel was heard. @param {string} channel @returns {Position|undefined} */
  position(channel) {
    const entry = this.#channels.get(channel);
    return entry?.epoch ? { epoch: entry.epoch, offset: entry.offset } : undefined;
  }
  /** @param {string} channel @param {any} data @returns {Promise<void>} */
  async publish(channel, data) { await this.#command({ publish: { channel, data } }); }
  /** Calls the hub, as "room.join". @param {string} method @param {any} [data] @returns {Promise<any>} */
  async call(method, data = {}) { return (await this.#command({ rpc: { method, data } })).data; }
  /** Who is here, by connection. @param {string} channel @returns {Promise<Record<string, any>>} */
  async presence(channel) { return (await this.#command({ presence: { channel } })).presence; }
  /** @param {string} channel @param {{limit?: number, since?: Position, reverse?: boolean}} [options] @returns {Promise<any>} */
  history(channel, options = {}) { return this.#command({ history: { channel, ...options } }); }

  get #storageKey() { return `holdfast:${this.#options.key ?? "session"}`; }
  get #sessionToken() { return this.#store?.getItem(this.#storageKey) ?? this.#token; }
  set #sessionToken(token) {
    this.#token = token;
    // A full storage must not end the game: the token lives as long as the page then.
    try { this.#store?.[token ? "setItem" : "removeItem"](this.#storageKey, token); } catch { /* as said */ }
  }
  #emit(event, value) { for (const listener of this.#listeners.get(event) ?? []) tell(listener, value); }
  #become(state, details = {}) { this.state = state; this.#emit("state", { state, ...details }); }
  #open() {
    clearTimeout(this.#retry);
    this.#become("connecting");
    const socket = (this.#socket = new WebSocket(this.#url));
    this.#heard(ANSWER_WITHIN * 2); // The hub waits as long for the first command.
    socket.onopen = () => this.#greet(socket);
    socket.onclose = ({ code, reason }) => { if (socket === this.#socket) this.#lost(code, reason); };
    socket.onmessage = ({ data }) => {
      this.#heard(this.#ping ? this.#ping + SILENCE_GRACE : 0);
      for (const line of String(data).split("\n")) if (line && socket === this.#socket) this.#take(line);
    };
  }
  async #greet(socket) {
    const { name, token: login } = this.#options;
    const refused = (error) => {
      if (socket !== this.#socket) return;
      if (error.code === 109) this.forget(); // Expired: a login that can be fetched anew is.
      const mayRetry = !(error instanceof HoldfastError) || error.temporary || (error.code === 109 && typeof login === "function");
      if (mayRetry) this.#lost(1006, error.message);
      else this.#end(error.code, error.message);
    };
    try {
      const token = this.#sessionToken || (typeof login === "function" ? await login() : login) || undefined;
      const connect = { token, name: "holdfast.js", data: name ? { name } : undefined };
      if (socket === this.#socket) this.#request({ connect }, (result) => this.#welcomed(result), refused, true);
    } catch (error) { refused(error); }
  }
  #welcomed({ data, ping = 0 }) {
    const { token, ...session } = data.session;
    if (token) this.#sessionToken = token;
    this.welcome = { ...data, session };
    this.#attempt = 0;
    this.#ping = ping * 1000;
    this.#heard(ping ? this.#ping + SILENCE_GRACE : 0);
    this.#become("connected");
    for (const entry of this.#channels.values()) this.#join(entry);
    for (const command of [...this.#commands.values()]) if (!command.isSent) this.#send(command);
    this.#emit("connected", this.welcome);
    this.#arrival?.resolve(this.welcome);
    this.#arrival = null;
  }
  /** Something came: silence counts from here. @param {number} allowed ms, 0 for ever */
  #heard(allowed) {
    clearTimeout(this.#silence);
    if (allowed) this.#silence = setTimeout(() => this.#lost(1006, "the hub fell silent"), allowed);
  }
  /** The line is gone: comes back unless the code forbids it. */
  #lost(code, reason) {
    if (code === 3500 || code === 4500) this.forget(); // The session is no more: the next connect is a new one.
    if (isTerminal(code)) return this.#end(code, reason);
    this.#hangUp();
    const retryIn = backOff(this.#attempt++);
    this.#retry = setTimeout(() => this.#open(), retryIn);
    this.#become("waiting", { code, reason, retryIn });
  }
  #end(code, reason) {
    clearTimeout(this.#retry);
    this.#hangUp();
    this.#attempt = 0;
    const error = new HoldfastError(code, reason || "disconnected");
    for (const command of [...this.#commands.values()]) command.reject(error);
    this.#arrival?.reject(error);
    this.#arrival = null;
    if (this.state !== "offline") this.#become("offline", { code, reason });
  }
  /** What was sent may or may not have been done; what was not waits for the next line. */
  #hangUp() {
    const socket = this.#socket;
    this.#socket = null;
    this.#ping = 0;
    clearTimeout(this.#silence);
    for (const entry of this.#channels.values()) clearTimeout(entry.retry);
    socket?.close();
    const error = new HoldfastError(Fault.LOST, "the line was lost before the answer came", true);
    for (const command of [...this.#commands.values()]) if (command.isSent) command.reject(error);
  }
  #command(request) { return new Promise((resolve, reject) => this.#request(request, resolve, reject)); }
  /** `resolve` runs before the next line of the frame is read, so that pushes find what it set. `isOwn` goes past limits. */
  #request(request, resolve, reject, isOwn = false) {
    const refuse = (code, message) => reject(new HoldfastError(code, message, code !== Fault.OFFLINE));
    if (this.state === "offline") return refuse(Fault.OFFLINE, "not connected: call connect() first");
    if (!isOwn && this.#commands.size >= COMMANDS_MAX) return refuse(Fault.FULL, `${COMMANDS_MAX} commands wait for an answer already`);
    if (!isOwn && (this.#socket?.bufferedAmount ?? 0) > UNSENT_MAX) return refuse(Fault.FULL, "the line is too slow for what is sent");
    const id = ++this.#lastId;
    const settle = (act) => (value) => { clearTimeout(timer); this.#commands.delete(id); act(value); };
    const command = { resolve: settle(resolve), reject: settle(reject), line: JSON.stringify({ id, ...request }), isSent: false };
    const timer = setTimeout(() => command.reject(new HoldfastError(Fault.TIMEOUT, `no answer within ${ANSWER_WITHIN / 1000} s`, true)), ANSWER_WITHIN);
    this.#commands.set(id, command);
    if (isOwn || this.state === "connected") this.#send(command);
  }
  #send(command) { command.isSent = true; this.#write(command.line); }
  #write(text) { this.#socket?.send(text); this.#emit("frame", { direction: "out", text }); }
  #take(text) {
    this.#emit("frame", { direction: "in", text });
    const reply = JSON.parse(text);
    if (reply.push) return this.#pushed(reply.push);
    if (!reply.id) return this.#write("{}"); // A ping, and the answer to it.
    const { id, error, ...result } = reply;
    const command = this.#commands.get(id);
    if (error) command?.reject(new HoldfastError(error.code, error.message, error.temporary));
    else command?.resolve(Object.values(result)[0] ?? {});
  }
  #pushed({ channel, pub, join, leave, unsubscribe, message }) {
    if (message) this.#emit("message", message.data);
    const entry = this.#channels.get(channel);
    if (!entry) return;
    if (pub) this.#deliver(entry, pub, false);
    if (join) tell(entry.handlers.onJoin, join.info);
    if (leave) tell(entry.handlers.onLeave, leave.info);
    if (unsubscribe?.code >= 2500) this.#join(entry);
    else if (unsubscribe) this.#leave(channel, unsubscribe.code, unsubscribe.reason);
  }
  #deliver(entry, publication, isMissed) {
    if (publication.offset && publication.offset <= entry.offset) return;
    if (publication.offset) entry.offset = publication.offset;
    tell(entry.handlers.onPublication, publication, isMissed);
  }
  #join(entry) {
    const { channel, recover, epoch, offset } = entry;
    const socket = this.#socket;
    if (entry.joining === socket) return;
    clearTimeout(entry.retry);
    entry.joining = socket;
    const isStale = () => this.#channels.get(channel) !== entry || socket !== this.#socket;
    const joined = ({ recoverable = false, publications = [], ...result }) => {
      if (isStale()) return;
      Object.assign(entry, { joining: null, attempt: 0, recover: recoverable, epoch: result.epoch ?? "", offset: result.offset ?? 0 });
      const how = { wasRecovering: !!result.was_recovering, recovered: !!result.recovered, missed: publications.length };
      tell(entry.handlers.onSubscribed, how);
      for (const publication of publications) this.#deliver(entry, publication, true);
      entry.resolve(how);
    };
    const refused = (error) => {
      if (isStale()) return;
      entry.joining = null;
      if (error.code === Fault.TIMEOUT) this.#lost(1006, "no answer to a subscription");
      else if (error.temporary) entry.retry = setTimeout(() => this.#join(entry), backOff(entry.attempt++));
      else this.#leave(channel, error.code, error.message);
    };
    this.#request({ subscribe: { channel, ...(recover ? { recover, epoch, offset } : {}) } }, joined, refused, true);
  }
  #leave(channel, code, reason) {
    const entry = this.#channels.get(channel);
    if (!this.#channels.delete(channel)) return false;
    clearTimeout(entry.retry);
    entry.reject(new HoldfastError(code, reason));
    tell(entry.handlers.onUnsubscribed, { code, reason });
    return true;
  }
}
