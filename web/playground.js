/** The playground: two players side by side, each with a session of their own, on raw WebSocket. */
import { Board, isMove, nameOf } from "./board.js";
import { Fault, Holdfast, newKey } from "./holdfast.js";

const ENTRIES_MAX = 400; // of a stream: kept across a refresh
const HISTORY_MAX = 300; // what the hub sends at once; the board is made of it for who comes late
const SLOW_BY = 2_000; // ms each way, on a slow line
const FRAMES_MAX = 100; // the newest raw frames
const FRAME_CHARS_MAX = 2_000; // a longer frame is cut short
const SAVE_WITHIN = 200; // ms from a change until it would survive a crash of the tab
const TOAST_FOR = 1_800; // ms

const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/connection/websocket`;
const $ = (id) => document.getElementById(id);
const element = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text ?? "" });
const codeIn = (text) => (text.match(/[?&]room=([^&#\s]+)/)?.[1] ?? text).trim().toUpperCase();

const words = {
  ROOM_NOT_FOUND: "There is no room with this code.",
  ROOM_FULL: "Every seat of this room is taken.",
  ROOM_CLOSED: "This room has been closed.",
  SEAT_TAKEN: "Somebody else was faster: this seat is taken.",
  ALREADY_SEATED: "You hold another seat in this room.",
  TOO_MANY_SEATS: "You hold as many seats as a player may. Leave a room first.",
  RATE_LIMITED: "That was too much at once. Try again in a moment.",
  "permission denied": "Only players with a seat may speak and listen here.",
};
const ends = {
  3500: "The hub does not know this session. Open or join a room to begin a new one.",
  4500: "The session has ended. Open or join a room to begin a new one.",
  4501: "This player is connected in another tab or on another device. Take it back brings them here.",
};

/** Where players are kept: per tab or per browser. */
const policy = localStorage.getItem("playground:storage") === "local" ? "local" : "session";
const store = policy === "local" ? localStorage : sessionStorage;

/** A line that can be slow: what is sent and what comes waits, and stays in order. */
const slowable = (slowBy) => class extends WebSocket {
  #lastOut = 0; #lastIn = 0;
  send(text) {
    const at = (this.#lastOut = Math.max(this.#lastOut, Date.now() + slowBy()));
    this.#at(at, () => { if (this.readyState === WebSocket.OPEN) super.send(text); });
  }
  set onmessage(listener) {
    this.addEventListener("message", (event) => {
      this.#lastIn = Math.max(this.#lastIn, Date.now() + slowBy());
      this.#at(this.#lastIn, () => listener(event));
    });
  }
  #at(moment, act) {
    const wait = moment - Date.now();
    if (wait > 0) setTimeout(act, wait);
    else act();
  }
};

class Player {
  constructor(key, name) {
    this.key = key;
    const root = $("player").content.firstElementChild.cloneNode(true);
    root.dataset.player = key;
    root.setAttribute("aria-label", `Player ${key.toUpperCase()}`);
    this.root = root;
    this.parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
    this.defaultName = name;
    this.slowBy = 0;
    this.board = new Board(this.parts.board, (square) => this.attempt(() => this.paint(square)));
    this.listen();
    $("players").append(root);
    addEventListener("pagehide", () => this.save());
    setInterval(() => this.showTimes(), 1000);
  }

  /** Begins with what the last page left, as after F5. */
  async start() {
    const kept = JSON.parse(store.getItem(`playground:${this.key}`) ?? "{}");
    this.entries = kept.entries ?? [];
    this.since = kept.since;
    this.pending = new Map(kept.pending);
    this.proof = kept.proof ?? { returns: 0 };
    this.room = null;
    this.board.clear();
    for (const { data, speaker } of this.entries) if (isMove(data)) this.board.paint(data.paint, speaker.seat);
    this.away = new Map();
    this.parts.frames.replaceChildren();
    this.parts.nameInput.value = kept.name ?? this.defaultName;
    this.parts.codeInput.value = codeIn(location.search);
    this.name = kept.name;
    this.complain();
    this.hub = this.newHub(seatInLink(this.key));
    this.show();
    this.showState({ state: "offline" });
    if (!this.hub.canResume) return;
    await this.attempt(async () => {
      await this.hub.connect();
      const seat = this.hub.seats.find(({ room }) => room === kept.code) ?? this.hub.seat;
      if (seat) await this.enter(await this.look(seat.room), seat.room === kept.code ? kept.since : undefined);
    });
  }

  newHub(seatToken) {
    const hub = new Holdfast(url, {
      name: this.parts.nameInput.value.trim(),
      key: `player-${this.key}`,
      storage: policy,
      socket: slowable(() => this.slowBy),
      seatToken,
    });
    hub.on("state", (state) => this.showState(state));
    hub.on("connected", ({ user, seats }) => {
      this.user = user;
      this.name = user.name;
      this.returned(seats);
      this.show();
    });
    hub.on("seat", () => this.show());
    hub.on("back", ({ missed, recovered }) => this.prove({ missed, recovered }));
    hub.on("overdue", () => this.complain("The hold is over by this clock. Only the hub can tell, so it is tried on."));
    hub.on("frame", (frame) => this.showFrame(frame));
    return hub;
  }

  listen() {
    const acts = {
      open: () => this.arrive("room.open", { kind: this.parts.kind.value }),
      repeat: () => this.attempt(() => this.repeat()),
      drop: () => this.hub.drop(Number(this.parts.dropFor.value)),
      slow: (button) => {
        this.slowBy = this.slowBy ? 0 : SLOW_BY;
        button.setAttribute("aria-pressed", String(this.slowBy > 0));
      },
      move: () => {
        const { seatLink: field } = this.parts;
        Object.assign(field, { value: seatLink(this.hub.seatToken), hidden: false });
        copy(field.value, field);
      },
      away: () => (this.hub.state === "offline" ? this.attempt(() => this.hub.connect()) : this.hub.disconnect()),
      reload: () => this.reload(),
      leave: () => this.attempt(() => this.leave()),
    };
    this.root.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      acts[button?.dataset.act]?.(button);
      if (button?.dataset.seat) this.attempt(() => this.sit(Number(button.dataset.seat)));
    });
    this.parts.lounge.addEventListener("submit", (event) => {
      event.preventDefault();
      const room = codeIn(this.parts.codeInput.value);
      if (room) this.arrive("room.join", { room });
      else this.complain("Type the code of a room, or paste its link.");
    });
    this.parts.composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.attempt(() => this.talk());
    });
    const panels = { stream: this.parts.stream, frames: this.parts.frames };
    tabs([...this.root.querySelectorAll("[data-tab]")], ({ dataset }) => {
      for (const [name, panel] of Object.entries(panels)) panel.hidden = name !== dataset.tab;
      panels[dataset.tab].scrollTop = panels[dataset.tab].scrollHeight;
    });
  }

  /** Comes in as somebody, and into a room. The command and its key are kept, to be repeated later. */
  arrive(method, data) {
    return this.attempt(async () => {
      if (!this.parts.lounge.reportValidity()) return;
      if (this.hub.state === "offline") {
        if (!this.hub.canResume) this.hub = this.newHub(); // With the name that is typed in now.
        await this.hub.connect();
      }
      const key = newKey();
      const answer = await this.hub.call(method, data, { key });
      this.entries = [];
      this.pending.clear();
      this.board.clear();
      const session = this.hub.welcome.session.id;
      this.proof = { returns: 0, command: { method, data, key, session, answer: comparable(answer), repeats: 0 } };
      await this.enter(answer.room);
    });
  }

  async enter(room, since) {
    this.room = room;
    this.since = since;
    this.prove({ seat: this.hub.seats.find((seat) => seat.room === room.code) });
    this.show();
    await this.hub.subscribe(room.channel, {
      since,
      onSubscribed: (how) => this.subscribed(how),
      onPublication: (publication, isMissed) => this.heard(publication, isMissed),
      onUnsubscribed: ({ code, reason }) => {
        const why = code === 2000 ? "only seats hear this room" : reason;
        if (code !== 0) this.add({ mark: `no longer listening: ${why}`, isLost: true });
      },
    });
  }

  subscribed({ wasRecovering, recovered, missed }) {
    if (wasRecovering && recovered) this.add({ mark: missed ? `back: ${missed} missed, all recovered` : "back: nothing missed" });
    if (wasRecovering && !recovered) this.add({ mark: "back: the stream began anew, something may be missing", isLost: true });
    this.refresh();
    // What was missed comes first: it may have the moves whose fate is unknown.
    setTimeout(() => this.attempt(async () => {
      this.isListening = true;
      if (!(wasRecovering && recovered)) await this.catchUp();
      for (const [move, square] of this.pending) await this.say(move, square);
    }));
  }

  /** Who comes late, or may have missed something, asks what the room still has. */
  async catchUp() {
    const { channel } = this.room;
    const { publications = [] } = await this.hub.history(channel, { limit: HISTORY_MAX, reverse: true }).catch(() => ({}));
    for (const { data, info } of publications.reverse()) if (isMove(data)) this.board.paint(data.paint, info?.chan_info?.seat);
    this.showBoard();
  }

  /** Back from wherever: the same seat, or another, or none. */
  returned(seats) {
    const { seat: before } = this.proof;
    if (!before) return;
    const isKept = seats.some(({ room, seat }) => room === before.room && seat === before.seat);
    this.prove({ returns: this.proof.returns + 1, isLost: !isKept });
    // A key is good within its session: in another one the command would be a new one.
    if (this.proof.command?.session !== this.hub.welcome.session.id) this.prove({ command: undefined });
    this.attempt(() => this.repeat());
  }

  /** The command that led here, once more: it has the same answer, and opens no second room. */
  async repeat() {
    const { command } = this.proof;
    if (!command) return;
    const answer = await this.hub.call(command.method, command.data, { key: command.key });
    const isSame = command.isSame !== false && comparable(answer) === command.answer;
    this.prove({ command: { ...command, repeats: command.repeats + 1, isSame } });
  }

  prove(found) {
    Object.assign(this.proof, found);
    this.showProof();
    this.saveSoon();
  }

  heard({ data, offset, info, tags }, isMissed) {
    const isNews = tags?.from === "hub";
    if (isNews) {
      if (data.type === "seat.away") this.away.set(data.seat, Date.now() + data.hold_seconds * 1000);
      else if (data.seat !== undefined) this.away.delete(data.seat);
      this.refresh();
    }
    const speaker = isNews ? undefined : { id: info?.user, name: info?.conn_info?.name ?? info?.user, seat: info?.chan_info?.seat };
    if (!isNews && isMove(data)) {
      this.pending.delete(data.move);
      // A move that was said again because nobody knew whether it had been heard.
      const isAgain = this.entries.some((entry) => entry.data?.move === data.move);
      if (!isAgain) this.board.paint(data.paint, speaker.seat);
      this.showBoard();
      if (isAgain) return;
    }
    this.add({ data, offset, speaker, isMissed, isNews });
  }

  /** A move has a name of its own: it may be said twice, and is made once. */
  async paint(square) {
    const move = newKey();
    this.pending.set(move, square);
    this.showBoard();
    this.saveSoon();
    if (this.isListening) await this.say(move, square);
  }

  async say(move, square) {
    try { await this.hub.publish(this.room.channel, { paint: square, move }); } catch (error) {
      // Perhaps it was heard. When the line is back, the stream tells.
      if (error.code === Fault.LOST || error.code === Fault.TIMEOUT) return;
      this.pending.delete(move);
      this.showBoard();
      throw error;
    }
  }

  async talk() {
    const text = this.parts.text.value.trim();
    if (!text || !this.room) return;
    let data = { text };
    if (text.startsWith("{")) {
      try { data = JSON.parse(text); } catch { throw new Error("This begins like JSON, but is none."); }
    }
    this.parts.text.value = "";
    try { await this.hub.publish(this.room.channel, data); } catch (error) {
      this.parts.text.value ||= text;
      throw error;
    }
  }

  async leave() {
    if (this.seat) {
      await this.hub.leave(this.room.code);
      this.prove({ seat: undefined, isLost: false, returns: 0, command: undefined });
      await this.refresh();
    } else {
      await this.hub.unsubscribe(this.room.channel);
      this.room = this.since = null;
      this.entries = [];
      this.pending.clear();
      this.proof = { returns: 0 };
      this.show();
    }
  }

  async sit(seat) {
    const room = this.room.code;
    this.prove({ seat: (await this.hub.call("seat.claim", { room, seat })).seat });
    if (this.hub.position(this.room.channel)) await this.refresh();
    else await this.enter(await this.look(room), this.since);
  }

  /** Forgets all that a page knows and starts from what is kept. */
  reload() {
    this.save();
    this.hub.disconnect();
    this.start();
  }

  async look(code) { return (await this.hub.call("room.get", { room: code })).room; }

  /** Looks at the room again; news that come meanwhile cause one more look. */
  async refresh() {
    if (this.isLooking) { this.lookAgain = true; return; }
    this.isLooking = true;
    try {
      do {
        this.lookAgain = false;
        const room = await this.look(this.room.code);
        if (this.room) this.room = room;
      } while (this.lookAgain && this.room);
    } catch { /* The line is gone: the next subscription looks again. */ }
    this.isLooking = false;
    this.show();
  }

  get seat() { return this.room?.seats.find(({ user }) => user && user.id === this.user?.id); }

  async attempt(act) {
    this.complain();
    try { await act(); } catch (error) { this.complain(ends[error.code] ?? words[error.message] ?? error.message); }
  }

  complain(text = "") {
    this.parts.problem.textContent = text;
    this.parts.problem.hidden = !text;
  }

  add(entry) {
    this.entries = [...this.entries, entry].slice(-ENTRIES_MAX);
    this.since = this.hub.position(this.room.channel) ?? this.since;
    const { stream } = this.parts;
    stream.querySelector(".nothing")?.remove();
    const isAtEnd = stream.scrollHeight - stream.scrollTop - stream.clientHeight < 40;
    stream.append(this.line(entry));
    while (stream.children.length > ENTRIES_MAX) stream.firstElementChild.remove();
    if (isAtEnd) stream.scrollTop = stream.scrollHeight;
    this.showPosition();
    this.saveSoon();
  }

  saveSoon() { this.saving ??= setTimeout(() => this.save(), SAVE_WITHIN); }

  /** Position and entries go together, so that neither is ahead of the other. */
  save() {
    clearTimeout(this.saving);
    this.saving = undefined;
    const { name, room, since, entries, pending, proof } = this;
    const kept = { name, code: room?.code, since, entries, pending: [...pending], proof };
    try { store.setItem(`playground:${this.key}`, JSON.stringify(kept)); } catch { /* Full: F5 shows less. */ }
  }

  show() {
    const { parts, room } = this;
    parts.name.textContent = this.name ?? `Player ${this.key.toUpperCase()}`;
    parts.avatar.textContent = (this.name ?? this.key).trim().charAt(0).toUpperCase();
    parts.lounge.hidden = !!room;
    parts.room.hidden = !room;
    parts.lineTools.hidden = !room;
    parts.nameInput.disabled = this.hub.canResume;
    if (!room) return;
    parts.roomState.textContent = room.status;
    this.root.querySelector('[data-act="leave"]').textContent = this.seat ? "Leave seat" : "Leave room";
    this.showSeats();
    this.showBoard();
    this.showProof();
    if (parts.stream.dataset.room !== room.code || parts.stream.children.length === 0) {
      parts.stream.dataset.room = room.code;
      const lines = this.entries.map((entry) => this.line(entry));
      parts.stream.replaceChildren(...(lines.length ? lines : [element("li", "nothing", "Nothing said yet.")]));
      parts.stream.scrollTop = parts.stream.scrollHeight;
    }
    this.showPosition();
    showShare(room);
  }

  showSeats() {
    const own = this.seat;
    const seats = this.room.seats.map(({ seat, status, team, user }) => {
      const isFree = status === "empty" && !own;
      const tile = element(isFree ? "button" : "div", "seat");
      if (isFree) Object.assign(tile, { type: "button" }).dataset.seat = seat;
      tile.dataset.status = status;
      if (own?.seat === seat) tile.classList.add("own");
      const note = element("span", "", `Seat ${seat}${team ? ` · ${team}` : ""}${own?.seat === seat ? " · you" : ""}`);
      if (status === "away") note.dataset.away = seat;
      tile.append(element("b", "", user?.name ?? (isFree ? "Sit here" : "Empty")), note);
      const item = element("li", "");
      item.append(tile);
      return item;
    });
    const { activeElement } = document;
    const focused = this.parts.seats.contains(activeElement) ? activeElement.dataset.seat : undefined;
    this.parts.seats.dataset.count = seats.length;
    this.parts.seats.replaceChildren(...seats);
    if (focused) this.parts.seats.querySelector(`[data-seat="${focused}"]`)?.focus();
    this.showTimes();
  }

  showBoard() {
    if (!this.room) return;
    this.board.show(new Set(this.pending.values()), !!this.seat);
    const names = new Map(this.room.seats.map(({ seat, user }) => [seat, user?.name]));
    const score = this.board.score().map(([seat, count]) => {
      const item = element("span", "", `${names.get(seat) ?? `Seat ${seat}`} ${count}`);
      item.dataset.seatColour = seat % 6;
      return item;
    });
    this.parts.score.replaceChildren(...(score.length ? score : [element("span", "none", "Paint a square: who has the most?")]));
  }

  showProof() {
    const { seat, returns, isLost, missed, recovered, command } = this.proof;
    const { proofSeat, proofMissed, proofCommand, repeat } = this.parts;
    const times = returns === 1 ? "one return" : `${returns} returns`;
    proofSeat.textContent = !seat ? "none held" : isLost ? `seat ${seat.seat} is gone` : returns ? `seat ${seat.seat}, kept through ${times}` : `seat ${seat.seat}`;
    proofSeat.dataset.is = isLost ? "lost" : returns && seat ? "kept" : "";
    const all = missed ? `${missed}, all recovered in order` : "nothing";
    proofMissed.textContent = recovered === undefined ? "nothing happened yet" : recovered ? all : "the stream began anew: perhaps something";
    proofMissed.dataset.is = recovered === undefined ? "" : recovered ? "kept" : "lost";
    const repeats = command?.repeats === 1 ? "repeated once" : `repeated ${command?.repeats} times`;
    const verdict = command?.isSame ? "same answer" : "another answer";
    proofCommand.textContent = !command ? "none" : command.repeats ? `${command.method} ${repeats}: ${verdict}` : command.method;
    proofCommand.dataset.is = !command?.repeats ? "" : command.isSame ? "kept" : "lost";
    repeat.hidden = !command;
    const canMove = !!this.hub?.seatToken;
    this.root.querySelector('[data-act="move"]').hidden = !canMove;
    this.parts.seatLink.hidden ||= !canMove;
  }

  showTimes() {
    for (const note of this.parts.seats.querySelectorAll("[data-away]")) {
      const until = this.away.get(Number(note.dataset.away));
      const left = until && Math.max(0, Math.ceil((until - Date.now()) / 1000));
      note.textContent = left === undefined ? "away" : `away, kept ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    }
  }

  showPosition() {
    const position = this.room && this.hub.position(this.room.channel);
    const epoch = element("span", "epoch", ` · epoch ${position?.epoch.slice(0, 6)}`);
    epoch.title = position?.epoch ?? "";
    this.parts.position.replaceChildren(...(position ? [`offset ${position.offset}`, epoch] : []));
  }

  showState({ state, code, retryIn }) {
    if (state !== "connected") this.isListening = false;
    const waiting = `Line lost (${code}), back in ${(retryIn / 1000).toFixed(1)} s`;
    const texts = { connected: "Connected", connecting: "Connecting…", waiting, offline: this.room ? "Away, the seat is kept" : "Not connected" };
    this.parts.state.textContent = texts[state];
    this.parts.state.dataset.state = state;
    const back = code === 4501 ? "Take it back" : "Come back";
    this.root.querySelector('[data-act="away"]').textContent = state === "offline" ? back : "Go away";
    this.root.querySelector('[data-act="drop"]').disabled = state !== "connected";
    if (state === "offline" && ends[code]) this.complain(ends[code]);
  }

  showFrame({ direction, text }) {
    const { frames } = this.parts;
    // Tokens are passwords: a shared screen must not give the seat away.
    const shown = text.replace(/hfs_[\w-]+/g, "hfs_…").replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, "eyJ…");
    frames.append(element("li", direction, shown.length > FRAME_CHARS_MAX ? `${shown.slice(0, FRAME_CHARS_MAX)}…` : shown));
    while (frames.children.length > FRAMES_MAX) frames.firstElementChild.remove();
    frames.scrollTop = frames.scrollHeight;
  }

  /** One line of the stream. */
  line({ mark, isLost, data, offset, speaker, isNews, isMissed }) {
    if (mark) return element("li", isLost ? "mark lost" : "mark", mark);
    const number = element("span", "offset", isMissed ? `#${offset} missed` : `#${offset}`);
    if (isNews) {
      const news = element("li", isMissed ? "news missed" : "news", newsText(data));
      news.append(number);
      return news;
    }
    if (isMove(data)) {
      const move = element("li", isMissed ? "move missed" : "move");
      move.dataset.offset = offset;
      const who = element("b", "", speaker?.name ?? "the game");
      if (speaker?.seat !== undefined) who.dataset.seatColour = speaker.seat % 6;
      move.append(who, ` painted ${nameOf(data.paint)}`, number);
      return move;
    }
    const entry = element("li", "entry");
    if (isMissed) entry.classList.add("missed");
    if (speaker?.id === this.user?.id) entry.classList.add("own");
    const isText = typeof data?.text === "string";
    entry.append(
      element("span", "speaker", speaker?.name ?? "the game"),
      element("span", isText ? "bubble" : "bubble json", isText ? data.text : JSON.stringify(data)),
      number,
    );
    return entry;
  }
}

function newsText({ type, user, seat, hold_seconds: hold, reason }) {
  const who = user?.name ?? "Somebody";
  switch (type) {
    case "seat.held": return `${who} took seat ${seat}`;
    case "seat.away": return `${who} is away: seat ${seat} is kept for ${hold >= 60 ? `${Math.round(hold / 60)} min` : `${hold} s`}`;
    case "seat.back": return `${who} is back in seat ${seat}`;
    case "seat.released": return `Seat ${seat} is free${reason ? `: ${who} ${reason === "left" ? "left" : reason.replace("_", " ")}` : ""}`;
    case "room.ready": return "Every seat has a holder";
    case "room.closed": return "The room has closed";
    default: return type;
  }
}

/** Arrow keys move between tabs, as in any list of them. */
function tabs(all, select) {
  const choose = (tab) => {
    for (const each of all) {
      each.setAttribute("aria-selected", String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
    }
    select(tab);
  };
  for (const [index, tab] of all.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = all[(index + step + all.length) % all.length];
      next.focus();
      choose(next);
    });
  }
}

function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => $("toast").classList.remove("shown"), TOAST_FOR);
}

/** A page that was not loaded over HTTPS or from this machine has no clipboard: the text is selected then. */
async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(shown);
    shown.select?.();
    toast("Selected: press Ctrl+C");
  }
}

const snippets = {
  client: (code) => `<script type="module">
  import { Holdfast } from "./holdfast.js";

  const hub = new Holdfast("${url}", { name: "Ana" });
  await hub.connect(); // resumes after F5: same session, same seat
  const { room, seat } = await hub.call("room.join", { room: "${code}" });
  await hub.subscribe(room.channel, {
    onPublication: ({ data, offset }) => console.log(offset, data),
  });
  await hub.publish(room.channel, { text: "hello from seat " + seat.seat });
</script>`,
  raw: (code, kind) => `${url}

{"id":1,"connect":{"data":{"name":"Ana"}}}
{"id":2,"rpc":{"method":"room.join","data":{"room":"${code}"}}}
{"id":3,"subscribe":{"channel":"${kind}:${code}"}}
{"id":4,"publish":{"channel":"${kind}:${code}","data":{"text":"hello"}}}`,
};
/** An answer without its tokens, which are new each time. */
const comparable = (answer) => JSON.stringify(answer, (name, value) => (name.startsWith("token") ? undefined : value));

/** A link that brings a seat along. What is behind the # is sent to nobody. */
const seatLink = (token) => `${location.origin}/${location.search}#seat=${token}`;

/** The seat that this page was opened with. It is for the first player, once. */
function seatInLink(key) {
  const token = location.hash.match(/^#seat=(.+)$/)?.[1];
  if (!token || key !== "a") return undefined;
  history.replaceState(null, "", location.pathname + location.search);
  return token;
}

let snippet = "client";
let shared = { code: "K7QX2P", kind: "table" };

function showSnippet() { $("snippet-text").textContent = snippets[snippet](shared.code, shared.kind); }

function showShare(room) {
  shared = room;
  const address = new URL(location.href);
  address.search = `?room=${room.code}`;
  address.hash = "";
  $("share").hidden = false;
  $("share-code").textContent = room.code;
  $("share-address").value = address.href;
  if (location.href !== address.href) history.replaceState(null, "", address);
  for (const player of players) if (!player.room && !player.parts.codeInput.value) player.parts.codeInput.value = room.code;
  showSnippet();
}

function showTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme-name").textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[theme];
}

const themes = ["auto", "light", "dark"];
let theme = themes.includes(localStorage.getItem("playground:theme")) ? localStorage.getItem("playground:theme") : "auto";
showTheme(theme);
$("theme").addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  localStorage.setItem("playground:theme", theme);
  showTheme(theme);
});
$("refresh").addEventListener("click", () => location.reload());
$("kill").hidden = !("canKill" in document.body.dataset);
$("kill-hint").hidden = !$("kill").hidden;
$("kill").addEventListener("click", async () => {
  // The hub may be gone before its answer is.
  const answer = await fetch("/dev/kill", { method: "POST" }).catch(() => undefined);
  toast(answer && !answer.ok ? "The hub does not let itself be killed from here" : "kill -9 is on its way");
});
$("storage").value = policy;
$("storage").addEventListener("change", ({ target }) => {
  localStorage.setItem("playground:storage", target.value);
  location.reload();
});
$("share-copy").addEventListener("click", () => copy($("share-address").value, $("share-address")));
$("snippet-copy").addEventListener("click", () => copy($("snippet-text").textContent, $("snippet-text")));
tabs([$("snippet-tab-client"), $("snippet-tab-raw")], ({ id }) => {
  snippet = id === "snippet-tab-raw" ? "raw" : "client";
  $("snippet-text").setAttribute("aria-labelledby", id);
  showSnippet();
});

const players = [];
for (const [key, name] of [["a", "Ana"], ["b", "Bo"]]) players.push(new Player(key, name));
showSnippet();
for (const player of players) player.start();
