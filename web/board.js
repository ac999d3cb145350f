/** The game of the playground: whoever sits may paint any square at any time, and the order of the stream decides. */

export const SIDE = 6;
const COUNT = SIDE * SIDE;

/** As on a chess board: B3. */
export const nameOf = (square) => `${String.fromCharCode(65 + (square % SIDE))}${Math.floor(square / SIDE) + 1}`;

/** Whether this is a move at all: a room carries whatever its players say. */
export const isMove = (data) => Number.isInteger(data?.paint) && data.paint >= 0 && data.paint < COUNT && typeof data.move === "string";

export class Board {
  /** Who painted each square last, by seat. */ squares = Array(COUNT).fill(null);
  #buttons; #focus = 0;

  /** @param {HTMLElement} root @param {(square: number) => void} onPaint */
  constructor(root, onPaint) {
    this.#buttons = this.squares.map((_, square) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "square" });
      button.dataset.square = square;
      button.addEventListener("click", () => { this.#reach(square); onPaint(square); });
      return button;
    });
    root.addEventListener("keydown", (event) => this.#steer(event));
    root.replaceChildren(...this.#buttons);
    this.show();
  }

  clear() { this.squares.fill(null); }

  paint(square, seat) { this.squares[square] = seat; }

  /** @param {Set<number>} [pending] squares whose paint is not in the stream yet */
  show(pending = new Set(), isOpen = false) {
    for (const [square, button] of this.#buttons.entries()) {
      const seat = this.squares[square];
      const isPending = pending.has(square);
      button.classList.toggle("pending", isPending);
      button.disabled = !isOpen;
      button.tabIndex = square === this.#focus ? 0 : -1;
      if (seat === null) delete button.dataset.seatColour;
      else button.dataset.seatColour = seat % 6;
      button.textContent = seat ?? "";
      const owner = seat === null ? "free" : `seat ${seat}`;
      button.setAttribute("aria-label", `${nameOf(square)}, ${owner}${isPending ? ", on its way" : ""}`);
    }
  }

  /** How many squares each seat has, the most first. @returns {[number, number][]} */
  score() {
    const counts = new Map();
    for (const seat of this.squares) if (seat !== null) counts.set(seat, (counts.get(seat) ?? 0) + 1);
    return [...counts].sort(([seat, count], [other, others]) => others - count || seat - other);
  }

  /** One stop of the Tab key for all squares; arrows go from there. */
  #steer(event) {
    const column = this.#focus % SIDE;
    const next = {
      ArrowLeft: column > 0 ? this.#focus - 1 : undefined,
      ArrowRight: column < SIDE - 1 ? this.#focus + 1 : undefined,
      ArrowUp: this.#focus - SIDE,
      ArrowDown: this.#focus + SIDE,
    }[event.key];
    if (next === undefined || next < 0 || next >= COUNT) return;
    event.preventDefault();
    this.#reach(next);
    this.#buttons[next].focus();
  }
  #reach(square) {
    this.#buttons[this.#focus].tabIndex = -1;
    this.#focus = square;
    this.#buttons[square].tabIndex = 0;
  }
}
