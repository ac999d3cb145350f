/**
 * The Holdfast client: one file, no dependencies, for any page or game that runs JavaScript modules.
 *
 *     const hub = new Holdfast("wss://hub.example/connection/websocket", { name: "Ana" });
 *     await hub.connect();
 *     const { room } = await hub.call("room.open", { kind: "table" });
 *     await hub.subscribe(room.channel, { onPublication: ({ data }) => console.log(data) });
 *     await hub.publish(room.channel, { text: "hello" });
 *
 * A lost line comes back by itself: same session, same seat, every subscription goes on where it was, and a command
 * whose answer was lost is asked again under its key. So does a page that was refreshed. Only `leave` gives a seat up.
 *
 * @typedef {{epoch: string, offset: number}} Position How far a stream was heard.
 * @typedef {{data: any, offset?: number, info?: {user: string, client: string, conn_info?: any, chan_info?: any},
 *   tags?: Record<string, string>, time?: number}} Publication
 * @typedef {{room: string, channel: string, seat: number, team: string|null, status: string, hold_seconds: number,
 *   token?: string, token_expires_at?: string}} Seat
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
 * @property {string} [seatToken] A seat to come back to, from another device. Wins over a session that is kept here.
 * @property {"session"|"local"|"none"} [storage] Where the tokens are kept: per tab, which survives a refresh (the
 *   default), per browser, which survives a closed tab, or nowhere.
 * @property {string} [key] Tells players apart who share a storage.
 * @property {any} [socket] The class of the socket, where no `WebSocket` is built in.
 * @typedef {"connecting"|"connected"|"waiting"|"offline"} State
 * @typedef {{key?: string}} Once The key of a command, to be chosen where a later page shall ask again; "" for none.
 */

/** Errors of this side; the hub's own codes are 100 and above, HTTP's 400 and above where HTTP was asked. */
export const Fault = Object.freeze({ TIMEOUT: 1, LOST: 2, OFFLINE: 3, FULL: 4 });

/** What went wrong. `temporary`: the same again may work, after `retryAfter` ms. With LOST and TIMEOUT it may have been
 *  done nonetheless. */
export class HoldfastError extends Error {
  code = 0; temporary = false; retryAfter = 0;
  /** @param {number} code @param {string} message @param {boolean} [temporary] @param {number} [retryAfter] */
  constructor(code, message, temporary = false, retryAfter = 0) {
    super(message);
    Object.assign(this, { name: "HoldfastError", code, temporary, retryAfter });
  }
}

const BACK_OFF_MIN = 500; // ms
const BACK_OFF_MAX = 20_000; // ms
const TRIES_IN_HOLD = 4; // What is left of a hold has room for as many tries.
const ANSWER_WITHIN = 5_000; // ms; the hub itself gives up on a command after 4 s
const SILENCE_GRACE = 10_000; // ms past the announced ping, as in the other client libraries
const PROBE_WITHIN = 1_500; // ms that a line has to show, after a wake, that it is still one
const TICK = 1_000; // ms between two looks at the clock
const SLEPT = 5_000; // ms; a look that comes so late means that the machine slept
const COMMANDS_MAX = 128; // waiting or unanswered; a hub takes bursts of 200, subscriptions among them
const TRIES_MAX = 8; // of one command that has a key
const SEATS_KEPT_MAX = 16; // seat tokens in storage
const TIMER_MAX = 2 ** 31 - 1; // ms; a longer timer fires at once
const UNSENT_MAX = 1 << 20; // bytes the socket may hold back before commands are refused

/** Calls that change nothing: to repeat one needs no key. */
const READS = new Set(["room.get", "session.get", "score.top"]);

/** How long to wait before the next try, in ms: full jitter, so that those who were cut off together do not come back
 *  together; short enough for what is left of the hold; and never before the hub has asked to be tried again.
 *  @param {number} attempt from 0
 *  @param {{holdLeft?: number, retryAfter?: number, random?: () => number}} [bounds] in ms */
export function backOff(attempt, { holdLeft = 0, retryAfter = 0, random = Math.random } = {}) {
  const ceiling = Math.min(BACK_OFF_MAX, BACK_OFF_MIN * 2 ** Math.min(attempt, 10));
  const drawn = Math.min(BACK_OFF_MAX, BACK_OFF_MIN + random() * ceiling);
  const fitting = holdLeft > 0 ? Math.max(BACK_OFF_MIN, holdLeft / TRIES_IN_HOLD) : BACK_OFF_MAX;
  return Math.max(retryAfter, Math.min(drawn, fitting));
}

/** Whether a close means to stay away: two ranges, and what would be closed for its size again. @param {number} code */
export const isTerminal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000) || code === 1009;

/** Where tokens are kept, or null for nowhere: a page may be denied its storage.
 *  @param {"session"|"local"|"none"} policy @param {any} [page] @returns {Storage|null} */
export function storeFor(policy, page = globalThis) {
  try {
    return { session: () => page.sessionStorage, local: () => page.localStorage, none: () => null }[policy]() ?? null;
  } catch { return null; }
}

/** 128 random bits: nobody else has this key, and no page has it twice. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A listener that fails must not cost the client its place. */
const tell = (listener, ...values) => { try { listener?.(...values); } catch (error) { console.error(error); } };
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class Holdfast {
  /** @type {State} */ state = "offline";
  /** @type {Welcome|null} */ welcome = null;
  /** The seats held, as far as this side knows. @type {Seat[]} */ seats = [];
  /** How many publications the last return brought that had been missed. */ missed = 0;
  /** Whether the last return brought all that was missed; null before there was one. @type {boolean|null} */ recovered = null;
  /** While the line is down: until when, in ms since 1970, the seats are surely kept. The hub does not count the time that
   *  it is down itself, so they may be there for longer. @type {number|null} */ heldUntil = null;
  #url; #options; #store; #socket = null; #arrival = null; #presented = null;
  #token = ""; #seatTokens = []; // as stored, for where no storage keeps them
  #lastId = 0; #attempt = 0; #retry = 0; #silence = 0; #ping = 0; #overdue = 0;
  #heardAt = 0; #openedAt = 0; #notBefore = 0; #probed = null; #watching = null;
  #commands = new Map(); #channels = new Map(); #listeners = new Map();

  /** @param {string} url of the WebSocket @param {Options} [options] */
  constructor(url, options = {}) {
    [this.#url, this.#options] = [url, { ...options }];
    this.#store = storeFor(options.storage ?? "session");
  }

  /** - `state` {state, code?, reason?, retryIn?}
   *  - `connected` Welcome
   *  - `seat` Seat or null, whenever `seat` is another one
   *  - `back` {channel, missed, recovered}, once for each channel after a return
   *  - `overdue`, when `heldUntil` has passed: the seats may be gone; the hub is tried on, as only it can tell
   *  - `replaced` {takeBack}, when this session went on elsewhere, as in a copy of this tab
   *  - `repeated` {what, key, tries, answer}, when a command was answered that had to be asked again
   *  - `message`, from the hub to this client alone
   *  - `frame` {direction: "in"|"out", text}
   *  @param {"state"|"connected"|"seat"|"back"|"overdue"|"replaced"|"repeated"|"message"|"frame"} event
   *  @param {(value: any) => void} listener @returns {() => void} takes the listener away */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** The seat held; the newest one, of several. @returns {Seat|null} */
  get seat() { return this.seats.at(-1) ?? null; }
  /** What brings another device into this seat, for an hour. @returns {string} empty if there is none */
  get seatToken() { return this.#usableSeatTokens().at(-1)?.token ?? ""; }
  /** Whether a token is kept, so that `connect` will resume. */
  get canResume() { return this.#sessionToken !== "" || this.seatToken !== "" || !!this.#options.seatToken; }

  /** Connects, or resumes, and stays until `disconnect`. @returns {Promise<Welcome>} */
  connect() {
    if (this.state === "connected") return Promise.resolve(/** @type {Welcome} */ (this.welcome));
    if (!this.#arrival) {
      const arrival = {};
      arrival.promise = new Promise((resolve, reject) => Object.assign(arrival, { resolve, reject }));
      arrival.promise.catch(() => {}); // Told by `state` too: nobody has to wait for it.
      this.#arrival = arrival;
    }
    if (this.state === "offline") {
      this.#watch();
      this.#open();
    }
    return this.#arrival.promise;
  }

  /** Hangs up and stays away. The seat is kept for its hold; `connect` resumes. */
  disconnect() { this.#end(Fault.OFFLINE, "disconnected"); }
  /** Cuts the line as a bad network would; it comes back by itself. @param {number} [downFor] ms */
  drop(downFor = 0) { if (this.#socket) this.#lost(1006, "line dropped", downFor); }
  /** Forgets who this was: the next `connect` is somebody new. */
  forget() {
    this.#sessionToken = "";
    this.#keepSeatTokens([]);
    this.#options.seatToken = "";
  }
  /** Gives the seat up for good, in one room or in all. @param {string} [room] */
  async leave(room) {
    const left = this.seats.filter((seat) => !room || seat.room === room);
    await Promise.all(left.map((seat) => this.call("room.leave", { room: seat.room })));
  }
  /** Ends the session at the hub, and all its seats with it. */
  async end() {
    try { await this.call("session.end"); } catch (error) {
      if (error.code !== 4500 && error.code !== 3500) throw error; // It has ended already.
    }
    this.#end(4500, "session ended");
  }

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
    if (this.#drop(channel, 0, "unsubscribed") && this.state === "connected") await this.#command({ unsubscribe: { channel } });
  }
  /** How far a channel was heard. @param {string} channel @returns {Position|undefined} */
  position(channel) {
    const entry = this.#channels.get(channel);
    return entry?.epoch ? { epoch: entry.epoch, offset: entry.offset } : undefined;
  }
  /** @param {string} channel @param {any} data @returns {Promise<void>} */
  async publish(channel, data) { await this.#command({ publish: { channel, data } }); }
  /** Calls the hub, as "room.join". What changes something has a key: if the line is lost before the answer comes, the call
   *  is repeated on the next one and done once. @param {string} method @param {any} [data] @param {Once} [once]
   *  @returns {Promise<any>} */
  async call(method, data = {}, { key = READS.has(method) ? "" : newKey() } = {}) {
    const rpc = { method, data: key ? { ...data, key } : data };
    const answer = await this.#untilAnswered(method, key, true, async () => (await this.#command({ rpc })).data ?? {});
    if (method === "session.end") this.forget();
    if (method === "room.leave" || method === "seat.release") this.#seatGone(({ room }) => room === data.room);
    this.#learn(answer);
    return answer;
  }
  /** The hub over HTTP, as "POST", "/v1/rooms"; it needs no socket, and has the same keys.
   *  @param {string} method @param {string} path @param {any} [body] @param {Once} [once] @returns {Promise<any>} */
  async request(method, path, body, { key = method === "POST" ? newKey() : "" } = {}) {
    const token = this.#sessionToken; // The same each time, as the key is.
    const answer = await this.#untilAnswered(`${method} ${path}`, key, false, () => this.#fetch(method, path, body, key, token));
    if (answer.session?.token) this.#sessionToken = answer.session.token;
    this.#learn(answer);
    return answer;
  }
  /** Who is here, by connection. @param {string} channel @returns {Promise<Record<string, any>>} */
  async presence(channel) { return (await this.#command({ presence: { channel } })).presence; }
  /** @param {string} channel @param {{limit?: number, since?: Position, reverse?: boolean}} [options] @returns {Promise<any>} */
  history(channel, options = {}) { return this.#command({ history: { channel, ...options } }); }

  // Tokens and seats.

  get #storageKey() { return `holdfast:${this.#options.key ?? "session"}`; }
  get #sessionToken() { return this.#store?.getItem(this.#storageKey) ?? this.#token; }
  set #sessionToken(token) {
    this.#token = token;
    this.#write(this.#storageKey, token);
  }
  /** A full storage must not end the game: what it cannot keep lives as long as the page. */
  #write(key, text) {
    try { this.#store?.[text ? "setItem" : "removeItem"](key, text); } catch { /* as said */ }
  }
  #usableSeatTokens() {
    const kept = this.#store?.getItem(`${this.#storageKey}:seats`);
    let tokens = this.#seatTokens;
    try { if (kept) tokens = JSON.parse(kept); } catch { /* Somebody else's words: the page's own are good. */ }
    return tokens.filter(({ expires }) => expires > Date.now());
  }
  #keepSeatTokens(tokens) {
    this.#seatTokens = tokens.slice(-SEATS_KEPT_MAX);
    this.#write(`${this.#storageKey}:seats`, tokens.length ? JSON.stringify(this.#seatTokens) : "");
  }
  #seated({ token, token_expires_at: until, ...seat }) {
    if (token) {
      const others = this.#usableSeatTokens().filter(({ room }) => room !== seat.room);
      this.#keepSeatTokens([...others, { room: seat.room, token, expires: Date.parse(until) || Number.MAX_SAFE_INTEGER }]);
    }
    this.#nowSeats([...this.seats.filter(({ room }) => room !== seat.room), seat]);
  }
  #seatGone(isGone) {
    const gone = this.seats.filter(isGone).map(({ room }) => room);
    if (gone.length === 0) return;
    this.#keepSeatTokens(this.#usableSeatTokens().filter(({ room }) => !gone.includes(room)));
    this.#nowSeats(this.seats.filter((seat) => !isGone(seat)));
  }
  #nowSeats(seats) {
    const before = this.seat;
    this.seats = seats;
    if (before?.room !== this.seat?.room || before?.seat !== this.seat?.seat) this.#emit("seat", this.seat);
  }
  /** Answers tell of seats, and bring their newest tokens. */
  #learn({ seat, seats }) {
    if (Array.isArray(seats)) this.#seatGone(({ room }) => !seats.some((kept) => kept.room === room));
    for (const one of [seat, ...(Array.isArray(seats) ? seats : [])]) if (one?.room) this.#seated(one);
  }
  /** Who this is, by the best there is: the seat asked for, the session kept here, the game's login, a seat kept here. */
  async #credential() {
    const { seatToken, token: login } = this.#options;
    if (seatToken) return { token: seatToken, drop: () => { this.#options.seatToken = ""; }, isKept: true };
    if (this.#sessionToken) return { token: this.#sessionToken, ...this.#session };
    if (login) return { token: typeof login === "function" ? await login() : login, isFresh: typeof login === "function" };
    const seat = this.#usableSeatTokens().at(-1);
    if (!seat) return {};
    const drop = () => this.#keepSeatTokens(this.#usableSeatTokens().filter(({ token }) => token !== seat.token));
    return { token: seat.token, drop, isKept: true };
  }
  get #session() { return { drop: () => { this.#sessionToken = ""; }, isKept: true }; }
  /** What was presented is no good. Whether there is something else to present. */
  #refused() {
    const { isKept, drop } = this.#presented ?? {};
    this.#presented = null;
    if (!isKept) return false;
    drop();
    return this.canResume || !!this.#options.token;
  }

  // The line.

  #emit(event, value) { for (const listener of this.#listeners.get(event) ?? []) tell(listener, value); }
  #become(state, details = {}) { this.state = state; this.#emit("state", { state, ...details }); }
  #open() {
    this.#hangUp();
    this.#openedAt = Date.now();
    this.#become("connecting");
    const socket = (this.#socket = new (this.#options.socket ?? WebSocket)(this.#url));
    this.#heard(ANSWER_WITHIN * 2); // The hub waits as long for the first command.
    socket.onopen = () => this.#greet(socket);
    socket.onclose = ({ code, reason }) => { if (socket === this.#socket) this.#lost(code, reason); };
    socket.onmessage = ({ data }) => {
      this.#heard(this.#ping ? this.#ping + SILENCE_GRACE : 0);
      for (const line of String(data).split("\n")) if (line && socket === this.#socket) this.#take(line);
    };
  }
  async #greet(socket) {
    const failed = (error) => {
      if (socket !== this.#socket) return;
      const isExpired = error.code === 109;
      if (isExpired && this.#presented?.isKept) return this.#closed(3500, error.message);
      const mayRetry = !(error instanceof HoldfastError) || error.temporary || (isExpired && this.#presented?.isFresh);
      if (mayRetry) this.#lost(1006, error.message, error.retryAfter);
      else this.#end(error.code, error.message);
    };
    try {
      const { name } = this.#options;
      const presented = await this.#credential();
      if (socket !== this.#socket) return;
      this.#presented = presented;
      const connect = { token: presented.token, name: "holdfast.js", data: name ? { name } : undefined };
      this.#request({ connect }, (result) => this.#welcomed(result), failed, true);
    } catch (error) { failed(error); }
  }
  #welcomed({ data, ping = 0 }) {
    const { token, ...session } = data.session;
    if (token) this.#sessionToken = token;
    this.#options.seatToken = ""; // It has done its work: the session goes on from here.
    this.#presented = this.#session;
    clearTimeout(this.#overdue);
    Object.assign(this, { welcome: { ...data, session }, heldUntil: null, missed: 0, recovered: null });
    [this.#attempt, this.#notBefore, this.#ping] = [0, 0, ping * 1000];
    this.#heard(ping ? this.#ping + SILENCE_GRACE : 0);
    this.#learn({ seats: data.seats });
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
    this.#heardAt = Date.now();
    if (allowed) this.#silence = setTimeout(() => this.#lost(1006, "the hub fell silent"), allowed);
  }
  /** The line is gone: comes back unless the code forbids it. @param {number} [retryAfter] ms, as the hub asks */
  #lost(code, reason, retryAfter = 0) {
    if (isTerminal(code)) return this.#closed(code, reason);
    this.#hangUp();
    this.#holdBegins(retryAfter);
    const holdLeft = this.heldUntil ? this.heldUntil - Date.now() : 0;
    const retryIn = backOff(this.#attempt++, { holdLeft, retryAfter });
    this.#notBefore = Date.now() + retryAfter;
    this.#retry = setTimeout(() => this.#open(), retryIn);
    this.#become("waiting", { code, reason, retryIn });
  }
  /** The hub has closed for good, unless something else opens the door. */
  #closed(code, reason) {
    if (code === 4500) this.forget(); // The session has ended, and with it its seats.
    if (code === 3500 && this.#refused()) return this.#lost(1006, reason);
    if (code === 4501) this.#emit("replaced", { takeBack: () => this.connect() });
    this.#end(code, reason);
  }
  /** The hub counts from when it finds out, which is not before it was last heard. */
  #holdBegins(retryAfter) {
    if (this.seats.length === 0) return;
    const hold = Math.max(...this.seats.map((seat) => seat.hold_seconds)) * 1000;
    // Whoever has to wait is kept for so much longer.
    this.heldUntil = Math.max(this.heldUntil ?? this.#heardAt + hold, Date.now() + retryAfter);
    clearTimeout(this.#overdue);
    const left = this.heldUntil - Date.now();
    if (left > 0) this.#overdue = setTimeout(() => this.#emit("overdue"), Math.min(left, TIMER_MAX));
  }
  #end(code, reason) {
    this.#hangUp();
    this.#unwatch();
    clearTimeout(this.#overdue);
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
    [this.#socket, this.#probed, this.#ping] = [null, null, 0];
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    for (const entry of this.#channels.values()) clearTimeout(entry.retry);
    socket?.close();
    const error = new HoldfastError(Fault.LOST, "the line was lost before the answer came", true);
    for (const command of [...this.#commands.values()]) if (command.isSent) command.reject(error);
  }

  // Waking up: a machine that slept, a network that changed and a page that comes back have lines that only look alive.

  #watch() {
    const stop = (this.#watching = new AbortController());
    const hear = (target, event, listener) => target?.addEventListener?.(event, listener, { signal: stop.signal });
    const wake = () => this.#wake();
    hear(globalThis, "online", wake);
    hear(globalThis, "offline", wake);
    hear(globalThis, "pageshow", ({ persisted }) => { if (persisted) this.#wake(); });
    // A refresh, or gone: nobody can tell. The seat is kept, and a page that is brought back as it was comes back.
    hear(globalThis, "pagehide", () => { if (this.#socket) this.#lost(1001, "the page went away"); });
    hear(globalThis.document, "visibilitychange", () => { if (!document.hidden) this.#wake(); });
    let last = Date.now();
    const ticks = setInterval(() => {
      const passed = Date.now() - last;
      last += passed;
      if (passed > SLEPT) this.#wake();
    }, TICK);
    ticks.unref?.(); // A program without a page ends when it has nothing else to do.
    stop.signal.addEventListener("abort", () => clearInterval(ticks));
  }
  #unwatch() { this.#watching?.abort(); }
  #wake() {
    const now = Date.now();
    if (this.state === "connected") this.#probe();
    else if (this.state === "waiting" && now >= this.#notBefore) this.#open();
    else if (this.state === "connecting" && now - this.#openedAt > PROBE_WITHIN) this.#open();
  }
  /** Asks for a sign of life, and does not wait for it as for any answer. */
  #probe() {
    const socket = this.#socket;
    if (this.#probed === socket) return;
    this.#probed = socket;
    const isDead = setTimeout(() => {
      if (socket !== this.#socket) return;
      this.#lost(1006, "the line did not survive");
      this.#open();
    }, PROBE_WITHIN);
    const alive = () => {
      clearTimeout(isDead);
      if (this.#probed === socket) this.#probed = null;
    };
    this.#request({ ping: {} }, alive, alive, true);
  }

  // Commands.

  /** With a key, asks until there is an answer or no use to ask on: a key is good within its session. */
  async #untilAnswered(what, key, needsLine, ask) {
    let session;
    for (let tries = 1; ; tries++) {
      try {
        const isAway = needsLine && (this.state === "waiting" || this.state === "connecting");
        if (key && isAway) await this.connect();
        session ??= this.welcome?.session.id;
        if (needsLine && session !== this.welcome?.session.id) throw new HoldfastError(Fault.LOST, "the session that asked is no more");
        const answer = await ask();
        if (tries > 1) this.#emit("repeated", { what, key, tries, answer });
        return answer;
      } catch (error) {
        if (!key || !error.temporary || tries >= TRIES_MAX) throw error;
        if (!needsLine || error.code !== Fault.LOST) await pause(backOff(tries - 1, error));
        if (needsLine && this.state === "offline") throw error;
      }
    }
  }
  async #fetch(method, path, body, key, token) {
    const headers = { ...(key && { "idempotency-key": key }), ...(body && { "content-type": "application/json" }) };
    if (token) headers.authorization = `Bearer ${token}`;
    const url = new URL(path, this.#url.replace(/^ws/, "http"));
    const told = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_WITHIN) };
    let response;
    try { response = await fetch(url, told); } catch { throw new HoldfastError(Fault.LOST, "no answer from the hub", true); }
    const answer = await response.json().catch(() => ({})); // 204 has none, and a proxy's own page is none.
    if (response.ok) return answer;
    const seconds = answer.retry_after ?? Number(response.headers.get("retry-after"));
    throw new HoldfastError(response.status, answer.code ?? response.statusText, [429, 502, 503, 504].includes(response.status), (seconds || 0) * 1000);
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
  #send(command) { command.isSent = true; this.#say(command.line); }
  #say(text) { this.#socket?.send(text); this.#emit("frame", { direction: "out", text }); }
  #take(text) {
    this.#emit("frame", { direction: "in", text });
    const reply = JSON.parse(text);
    if (reply.push) return this.#pushed(reply.push);
    if (!reply.id) return this.#say("{}"); // A ping, and the answer to it.
    const { id, error, ...result } = reply;
    const command = this.#commands.get(id);
    if (error) command?.reject(new HoldfastError(error.code, error.message, error.temporary, (error.retry_after ?? 0) * 1000));
    else command?.resolve(Object.values(result)[0] ?? {});
  }
  #pushed({ channel, pub, join, leave, unsubscribe, message }) {
    if (message?.data?.type === "seat.token") this.#learn(message.data);
    else if (message) this.#emit("message", message.data);
    const entry = this.#channels.get(channel);
    // 2000: no place there any more.
    if (unsubscribe?.code === 2000) this.#seatGone((seat) => seat.channel === channel);
    if (!entry) return;
    if (pub) this.#deliver(entry, pub, false);
    if (join) tell(entry.handlers.onJoin, join.info);
    if (leave) tell(entry.handlers.onLeave, leave.info);
    if (unsubscribe?.code >= 2500) this.#join(entry);
    else if (unsubscribe) this.#drop(channel, unsubscribe.code, unsubscribe.reason);
  }

  // Subscriptions.

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
      if (how.wasRecovering) {
        this.missed += how.missed;
        this.recovered = (this.recovered ?? true) && how.recovered;
      }
      tell(entry.handlers.onSubscribed, how);
      for (const publication of publications) this.#deliver(entry, publication, true);
      if (how.wasRecovering) this.#emit("back", { channel, missed: how.missed, recovered: how.recovered });
      entry.resolve(how);
    };
    const refused = (error) => {
      if (isStale()) return;
      entry.joining = null;
      if (error.code === Fault.TIMEOUT) this.#lost(1006, "no answer to a subscription");
      else if (error.temporary) entry.retry = setTimeout(() => this.#join(entry), backOff(entry.attempt++, error));
      else this.#drop(channel, error.code, error.message);
    };
    this.#request({ subscribe: { channel, ...(recover ? { recover, epoch, offset } : {}) } }, joined, refused, true);
  }
  #drop(channel, code, reason) {
    const entry = this.#channels.get(channel);
    if (!this.#channels.delete(channel)) return false;
    clearTimeout(entry.retry);
    entry.reject(new HoldfastError(code, reason));
    tell(entry.handlers.onUnsubscribed, { code, reason });
    return true;
  }
}
