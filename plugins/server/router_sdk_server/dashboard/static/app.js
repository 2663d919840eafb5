/* Which page is shown, who looks at it, and the figures as they come in. */

import { button, h, heading, put } from "./dom.js";
import { follow, get, signIn, signOut, signedIn } from "./service.js";
import * as experiments from "./experiments.js";
import * as health from "./health.js";
import * as label from "./label.js";
import * as overview from "./overview.js";
import * as sessions from "./sessions.js";
import * as trying from "./try.js";
import * as versions from "./versions.js";

const PAGES = [
  ["", "Overview", "metrics", overview],
  ["versions", "Versions", "metrics", versions],
  ["experiments", "Experiments", "metrics", experiments],
  ["health", "Health", "metrics", health],
  ["try", "Try a task", "route", trying],
  ["label", "Label", "record", label],
  ["sessions", "Sessions", "record", sessions],
];
const LIVE = { live: "Live", away: "Not connected, trying again", refused: "Not live" };

const main = document.getElementById("main");
const live = document.getElementById("live");
const leave = document.getElementById("leave");
const parts = {};
let me = null;
let page = null;
let line = null;

const allowed = (scope) => me.scopes.includes(scope) && (scope !== "metrics" || me.tenant === null);

function navigate() {
  const here = location.hash.replace(/^#\/?/, "").split("/")[0];
  put(
    document.getElementById("pages"),
    PAGES.map(([path, name]) =>
      h("li", {}, h("a", { href: `#/${path}`, "aria-current": path === here ? "page" : null, "data-key": path }, name)),
    ),
  );
}

function show({ focus = true } = {}) {
  const [path, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const [, name, scope, module] = PAGES.find(([at]) => at === path) ?? PAGES[0];
  navigate();
  page?.close?.();
  page = null;
  document.title = `${name} · Router`;
  if (allowed(scope)) {
    const place = h("div", { class: "page" });
    put(main, place);
    page = module.open(place, { parts, me, allowed, rest: rest.map(decodeURIComponent) });
    Object.keys(parts).forEach((part) => page.heard?.(part));
  } else {
    const why =
      me.tenant === null
        ? `It takes a key with the scope ${scope}.`
        : "It is about all tenants, and your key is bound to one.";
    put(main, heading(name, `This page is not for the key ${me.name}. ${why}`));
  }
  if (focus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function listen() {
  line?.abort();
  line = new AbortController();
  if (!allowed("metrics")) return;
  const faults = {};
  const heard = (name, told) => {
    faults[name] = told.fault;
    const fault = Object.values(faults).find(Boolean);
    live.textContent = fault ? `Not all can be read: ${fault}` : LIVE[live.className];
    if (told.fault && !parts[name]) return;
    parts[name] = told;
    page?.heard?.(name);
  };
  follow("v1/overview/events", line.signal, heard, (state, problem) => {
    live.className = state;
    live.textContent = LIVE[state];
    if (problem?.status === 401) start();
  });
}

function askForKey(problem) {
  const field = h("input", {
    id: "key",
    type: "password",
    autocomplete: "current-password",
    required: true,
    spellcheck: "false",
  });
  const said = h("p", { class: "problem", role: "alert" }, problem ?? "");
  const enter = async (event) => {
    event.preventDefault();
    signIn(field.value.trim());
    field.value = "";
    await start();
  };
  document.title = "Sign in · Router";
  put(document.getElementById("pages"));
  put(
    main,
    h(
      "section",
      { class: "narrow" },
      heading("Sign in"),
      h(
        "p",
        { class: "sub" },
        "Your key stays in this tab and is gone when you close it. ",
        h("code", {}, "router keys create you --scope metrics --scope route --scope record --scope admin"),
        " makes one that opens all pages.",
      ),
      h(
        "form",
        { onsubmit: enter },
        h("label", { for: "key" }, "Key"),
        field,
        h("button", { class: "first" }, "Sign in"),
        said,
      ),
    ),
  );
  field.focus();
}

async function start() {
  line?.abort();
  live.textContent = "";
  me = null;
  leave.hidden = true;
  try {
    if (!signedIn() && (await get("dashboard/keys.json")).needed) return askForKey();
    me = await get("dashboard/me");
  } catch (problem) {
    if (problem.status === 401) {
      signOut();
      return askForKey("This key is unknown, or was revoked.");
    }
    return put(main, heading("Not now", problem.message), button("Try again", start));
  }
  leave.hidden = !signedIn();
  listen();
  show({ focus: false });
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
leave.addEventListener("click", () => {
  signOut();
  start();
});
addEventListener("hashchange", () => me && show());
start();
