// People at the playground, in headless Chromium: told what to do on stdin, tells what the page shows on
// stdout, one JSON object a line. Nothing here sleeps: each order waits for what the page shows.
import { createRequire } from "node:module";
import readline from "node:readline";

const [modules, folder, base, patience] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/package.json`)("playwright-core");

const context = await chromium.launchPersistentContext(folder, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
context.setDefaultTimeout(Number(patience));

const faults = [];
/** Pages by name; the first one is the tab that the browser began with. */
const pages = new Map();

/** What holds the load of a page back, as a slow line would. */
const held = new Map();

function adopt(name, page) {
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) faults.push(message.text());
  });
  pages.set(name, page);
}

async function open(name, path) {
  adopt(name, pages.size === 0 ? context.pages()[0] : await context.newPage());
  await pages.get(name).goto(base + path);
}

const pane = ({ page, player }) => pages.get(page).locator(`[data-player="${player}"]`);
const connected = (order) => pane(order).locator('.state[data-state="connected"]').waitFor();

/** Paints one square after the other, faster than any page is refreshed. */
const plays = (order, squares) =>
  pane(order).evaluate(async (root, all) => {
    for (const square of all) {
      root.querySelector(`[data-square="${square}"]`).click();
      await new Promise((resolve) => { setTimeout(resolve, 40); });
    }
  }, squares);

const acts = {
  open: ({ page, path }) => open(page, path),
  // "Duplicate tab": the new one has what the old one keeps.
  duplicates: async ({ page, copy }) => {
    const [opened] = await Promise.all([
      pages.get(page).waitForEvent("popup"),
      pages.get(page).evaluate(() => { window.open(location.href); }),
    ]);
    adopt(copy, opened);
  },
  opens_room: (order) => pane(order).getByRole("button", { name: "Open a room" }).click(),
  names: (order) => pane(order).getByLabel("Name").fill(order.text),
  joins: (order) => pane(order).getByRole("button", { name: "Join" }).click(),
  // Where they sit, once they do.
  sits: async (order) => {
    await connected(order);
    return pane(order).locator('.seat.own[data-status="held"] span').textContent();
  },
  says: async (order) => {
    await pane(order).getByLabel("Message").fill(order.text);
    await pane(order).getByRole("button", { name: "Send" }).click();
    await pane(order).locator(".entry.own .bubble", { hasText: order.text }).waitFor();
  },
  hears: (order) => pane(order).locator(".entry:not(.own) .bubble", { hasText: order.text }).waitFor(),
  paints: (order) => pane(order).locator(`[data-square="${order.square}"]`).click(),
  // Its paint is on its way: said, and not heard.
  sees_on_its_way: (order) => pane(order).locator(`[data-square="${order.square}"].pending`).waitFor(),
  // All moves in the stream, oldest first, once there are so many.
  moves: async (order) => {
    await pane(order).locator(".move").nth(order.count - 1).waitFor();
    return pane(order).locator(".move").evaluateAll((moves) =>
      moves.map((move) => ({
        by: move.querySelector("b").textContent,
        text: move.childNodes[1].textContent.trim(),
        offset: Number(move.dataset.offset),
        missed: move.classList.contains("missed"),
      })),
    );
  },
  // Who holds which square, as the board shows it.
  board: (order) => pane(order).locator(".square").evaluateAll((squares) => squares.map((square) => square.textContent)),
  // F5 while another plays, after so many of their moves, and with a move of one's own on its way.
  refreshes: async (order) => {
    await plays(order.by, order.squares.slice(0, order.after));
    await acts.paints(order);
    const refreshed = pages.get(order.page).reload({ waitUntil: "commit" });
    await plays(order.by, order.squares.slice(order.after));
    await refreshed;
    return acts.sits(order);
  },
  presses: (order) => pane(order).getByRole("button", { name: order.text }).click(),
  drops_for: async (order) => {
    await pane(order).getByLabel("For how long").selectOption(order.text);
    await pane(order).getByRole("button", { name: "Drop line" }).click();
  },
  kills_the_hub: ({ page }) => pages.get(page).getByRole("button", { name: "kill -9 the hub" }).click(),
  keeps_players: async ({ page, text }) => {
    await Promise.all([
      pages.get(page).waitForEvent("load"),
      pages.get(page).getByLabel("Players are kept").selectOption(text),
    ]);
  },
  closes: async ({ page }) => {
    // A browser without any tab would end.
    await context.newPage();
    await pages.get(page).close();
  },
  // What a player would keep besides the session, or take to another device.
  seat_token: (order) => pages.get(order.page).evaluate(
    (key) => JSON.parse(sessionStorage.getItem(key)).at(-1).token,
    `holdfast:player-${order.player}:seats`,
  ),
  loses_session: (order) => pages.get(order.page).evaluate((key) => sessionStorage.removeItem(key), `holdfast:player-${order.player}`),
  reloads: ({ page }) => pages.get(page).reload(),
  // The browser finds out that its network is gone, or there again.
  goes_offline: () => context.setOffline(true),
  comes_online: () => context.setOffline(false),
  // The page is looked at again, as after a sleep.
  is_looked_at: ({ page }) => pages.get(page).evaluate(() => { document.dispatchEvent(new Event("visibilitychange")); }),
  is_connected: (order) => connected(order),
  // Whoever comes back at once may have been seen by nobody while waiting.
  sees_lost_line: (order) => pane(order).locator('.state:not([data-state="connected"])').waitFor(),
  sees: (order) => pane(order).getByText(order.text).first().waitFor(),
  // All messages in the stream, oldest first, with how they came.
  stream: (order) =>
    pane(order).locator(".entry").evaluateAll((entries) =>
      entries.map((entry) => ({
        text: entry.querySelector(".bubble").textContent,
        missed: entry.classList.contains("missed"),
      })),
    ),
  address: ({ page }) => pages.get(page).getByLabel("Share this address").inputValue(),
  // F5 on a slow line: the page is gone, and its script comes when `comes_back` says so.
  presses_f5: async ({ page }) => {
    let release;
    const gate = new Promise((resolve) => { release = resolve; });
    held.set(page, release);
    await pages.get(page).route("**/web/playground.js", async (route) => {
      await gate;
      await route.continue();
    });
    await pages.get(page).reload({ waitUntil: "commit" });
  },
  comes_back: async ({ page }) => {
    held.get(page)();
    await pages.get(page).unrouteAll({ behavior: "wait" });
  },
  width: async ({ page, width }) => {
    await pages.get(page).setViewportSize({ width, height: 800 });
    return pages.get(page).evaluate(() => document.documentElement.scrollWidth);
  },
  faults: () => faults,
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  try {
    console.log(JSON.stringify({ done: (await acts[order.act](order)) ?? null }));
  } catch (error) {
    const shown = await pages.get(order.page)?.locator("body").innerText().catch(() => "nothing");
    console.log(JSON.stringify({ failed: String(error), shown, faults }));
  }
}
await context.close();
