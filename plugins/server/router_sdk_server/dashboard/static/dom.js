/* Elements and words. Whatever comes from the log becomes text, never markup. */

export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "share") element.style.setProperty("--share", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/* New content in an element; what had the focus in it has it again, known by its data-key, and what was scrolled stays
   scrolled. */
export function put(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const places = new Map([...element.querySelectorAll(".scroll")].map((box) => [box.dataset.key, box.scrollLeft]));
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
  for (const box of element.querySelectorAll(".scroll")) {
    reach(box);
    boxes.observe(box);
    box.scrollLeft = places.get(box.dataset.key) ?? 0;
  }
  if (key) [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus();
}

/* A box that is narrower than its table is a tab stop with a name, so that the keyboard scrolls it; others are none. */
function reach(box) {
  const scrolls = box.scrollWidth > box.clientWidth + 1;
  for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", box.dataset.key]])
    scrolls ? box.setAttribute(name, value) : box.removeAttribute(name);
}

const boxes = new ResizeObserver((changed) =>
  changed.forEach(({ target }) => (target.isConnected ? reach(target) : boxes.unobserve(target))),
);

export const section = (title, about, ...content) =>
  h("section", {}, h("h2", {}, title), about && h("p", { class: "sub" }, about), ...content);

export const heading = (title, about) => [h("h1", {}, title), about && h("p", { class: "lead" }, about)];

/* The head of a column of numbers, which stand at the right; words stand at the left. */
export const number = (name) => ({ name, right: true });

/* Words of more letters than so break where there is no room for them. */
const LONG = 18;
export const long = (text) => (text.length > LONG ? "long" : null);
/* A table with more columns than so is a list on a narrow screen, with the name of its column before each cell. */
const FEW = 2;

/* A table whose first column names the row; cells are text, elements or arrays of these. Roles are said, for a table
   that is shown as a list would lose its own. */
export function table(caption, heads, rows, none = "Nothing yet.") {
  if (!rows.length) return h("p", { class: "none" }, none);
  const columns = heads.map((head) => (typeof head === "string" ? { name: head } : head));
  const side = (i) => (columns[i].right ? "right" : null);
  const told = (cell) => (typeof cell === "string" && long(cell) ? h("span", { class: long(cell) }, cell) : cell);
  const head = columns.map(({ name }, i) => h("th", { scope: "col", role: "columnheader", class: side(i) }, told(name)));
  const body = rows.map(([first, ...cells]) =>
    h(
      "tr",
      { role: "row" },
      h(
        "th",
        { scope: "row", role: "rowheader", class: side(0), "data-head": columns[0].name },
        [first].flat().map(told),
      ),
      cells.map((cell, i) =>
        h("td", { role: "cell", class: side(i + 1), "data-head": columns[i + 1].name }, [cell ?? "—"].flat().map(told)),
      ),
    ),
  );
  return h(
    "div",
    { class: `scroll${columns.length > FEW ? " stacks" : ""}`, "data-key": caption },
    h(
      "table",
      { role: "table" },
      h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
      h("tbody", { role: "rowgroup" }, body),
    ),
  );
}

export const figures = (all) =>
  h(
    "dl",
    { class: "figures" },
    all
      .filter(Boolean)
      .map(([name, value, hint]) =>
        h("div", {}, h("dt", {}, name), h("dd", { class: "value" }, value), h("dd", { class: "hint" }, hint)),
      ),
  );

export const button = (words, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, words);
const bar = (value) =>
  h("span", { class: "meter", share: Math.max(0, Math.min(1, value)), "aria-hidden": "true" });
/* A share as a bar and in words. */
export const gauge = (value) => [bar(value), h("span", { class: "part" }, share(value))];
export const words = (...said) => h("span", { class: "words" }, ...said);
/* The beginning of a long text, which opens to all of it. */
export const brief = (text, most = 120) =>
  text.length <= most
    ? text
    : h("details", { class: "brief" }, h("summary", {}, h("span", {}, `${text.slice(0, most)}…`)), text);
export const small = (...said) => h("small", {}, ...said);
export const tag = (word, kind = "") => h("span", { class: `tag ${kind}` }, word);

const known = (tell) => (value) => (value == null ? "—" : tell(value));
export const count = known((value) => value.toLocaleString("en"));
export const counted = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
export const reward = known((value) => value.toFixed(2));
export const signed = known((value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
export const share = known((value) => (value > 0 && value < 0.01 ? "<1%" : `${(100 * value).toFixed(0)}%`));
export const figure = known((value) => value.toLocaleString("en", { maximumSignificantDigits: 3 }));
export const usd = known((value) => {
  const size = Math.abs(value);
  const cents = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  const small = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
  const digits = size >= 1 || size === 0 ? cents : small;
  return `${value < 0 ? "−" : ""}$${size.toLocaleString("en", digits)}`;
});
export const ms = known((value) => {
  if (value >= 9_950) return `${(value / 1_000).toFixed(1)} s`;
  if (value > 0 && value < 0.05) return "<0.1 ms";
  return value < 9.95 ? `${value.toFixed(1)} ms` : `${count(Math.round(value))} ms`;
});
export const agent = (name) => name || "no agent fits";
/* "default" is the type of tasks to which nobody gave one. */
export const kind = (name) => (name === "default" ? "no type given" : name);

const clock = new Intl.DateTimeFormat("en", {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
export const moment = known((at) =>
  h("time", { datetime: new Date(1_000 * at).toISOString() }, clock.format(1_000 * at)),
);
/* From the lowest to the highest; null where both read the same, which is no interval. */
export const range = ({ low, high }, tell = reward) =>
  tell(low) === tell(high) ? null : `${tell(low)} to ${tell(high)}`;
