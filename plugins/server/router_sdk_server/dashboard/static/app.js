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
const MAY = {
  route: "ask who gets a task",
  record: "say how tasks went, label and read sessions",
  metrics: "see the figures",
  admin: "change agents, versions and experiments",
};
/* Scopes whose pages are about all tenants, and for no key that is bound to one. */
const OF_ALL = ["metrics", "admin"];

const main = document.getElementById("main");
const live = document.getElementById("live");
const leave = document.getElementById("leave");
const unread = document.getElementById("unread");
const parts = {};
let me = null;
let page = null;
let line = null;

const allowed = (scope) => me.scopes.includes(scope) && (me.tenant === null || !OF_ALL.includes(scope));
const listed = (all) => all.join(", ").replace(/, ([^,]*)$/, " and $1");

const behind = () => location.hash.replace(/^#\/?|\/$/g, "").split("/");

function navigate() {
  const here = behind()[0];
  put(
    document.getElementById("pages"),
    PAGES.map(([path, name, scope]) =>
      h(
        "li",
        {},
        h(
          "a",
          {
            href: `#/${path}`,
            "aria-current": path === here ? "page" : null,
            class: allowed(scope) ? null : "closed",
            title: allowed(scope) ? null : "not for your key",
            "data-key": path,
          },
          name,
        ),
      ),
    ),
  );
}

/* The page that the address names, with what stands behind it there; null where there is none. */
function addressed() {
  const [path, ...rest] = behind();
  const found = PAGES.find(([at]) => at === path);
  if (!found || rest.length > (found[3].MOST_BEHIND ?? 0)) return null;
  try {
    return [...found, rest.map(decodeURIComponent)];
  } catch {
    return null; // a % that begins nothing
  }
}

function show({ focus = true } = {}) {
  const found = addressed();
  navigate();
  page?.close?.();
  page = null;
  document.title = `${found ? found[1] : "No such page"} · Router`;
  if (!found)
    put(
      main,
      heading("No such page", `Nothing is at ${location.hash}.`),
      h("p", {}, h("a", { href: "#/" }, "To the overview")),
    );
  else if (allowed(found[2])) draw(found);
  else put(main, closed(found));
  if (focus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function draw([, , , module, rest]) {
  const place = h("div", { class: "page" });
  put(main, place);
  page = module.open(place, { parts, me, allowed, rest });
  Object.keys(parts).forEach(tell);
}

/* Instead of a page that the key does not open: why, what it is for, and the pages that it does open. */
function closed([, name, scope]) {
  const why =
    me.tenant !== null && OF_ALL.includes(scope)
      ? "It is about all tenants, and your key is bound to one."
      : `It takes a key with the scope ${scope}.`;
  const open = PAGES.filter(([, , needed]) => allowed(needed));
  return [
    heading(name, `This page is not for the key ${me.name}. ${why}`),
    h("p", {}, may()),
    open.length > 0 && h("ul", {}, open.map(([path, title]) => h("li", {}, h("a", { href: `#/${path}` }, title)))),
  ];
}

function may() {
  const what = me.scopes.filter(allowed).map((scope) => MAY[scope]);
  const whose = me.tenant === null ? "" : `, for the tenant ${me.tenant} alone`;
  return `The key ${me.name} may ${what.length ? listed(what) : "open no page"}${whose}.`;
}

/* Who comes without having chosen a page gets one that the key opens, where it does not open the overview. */
function land() {
  const first = PAGES.find(([, , scope]) => allowed(scope));
  if (!/^#?\/?$/.test(location.hash) || !first || first === PAGES[0]) return show({ focus: false });
  history.replaceState(null, "", `#/${first[0]}`);
  show({ focus: false });
  main.prepend(h("p", { class: "note" }, `${may()} The other pages take other scopes.`));
}

/* A part that cannot be drawn is a fault of the page, and keeps no other from being drawn. */
function tell(part) {
  try {
    page?.heard?.(part);
  } catch (fault) {
    console.error(fault);
  }
}

function listen() {
  line?.abort();
  line = new AbortController();
  if (!allowed("metrics")) return;
  const faults = {};
  const heard = (name, { fault, ...told }) => {
    faults[name] = fault;
    const all = [...new Set(Object.values(faults).filter(Boolean))];
    unread.textContent = all.length ? `Not all can be read now: ${all.join("; ")}. It is tried again by itself.` : "";
    if (!Object.keys(told).length) return; // nothing was ever read of it
    parts[name] = told;
    tell(name);
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
  live.textContent = live.className = unread.textContent = "";
  Object.keys(parts).forEach((part) => delete parts[part]); // what another key saw
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
  land();
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
