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

/* New content in an element; what had the focus in it has it again, known by its data-key. */
export function put(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
  if (key) [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus();
}

export const section = (title, about, ...content) =>
  h("section", {}, h("h2", {}, title), about && h("p", { class: "sub" }, about), ...content);

export const heading = (title, about) => [h("h1", {}, title), about && h("p", { class: "lead" }, about)];

/* A table whose first column names the row; cells are text, elements or arrays of these. */
export function table(caption, heads, rows, none = "Nothing yet.") {
  if (!rows.length) return h("p", { class: "none" }, none);
  const reads = (i) => rows[0][i] instanceof Element && rows[0][i].classList.contains("words");
  const head = heads.map((name, i) => h("th", { scope: "col", class: reads(i) ? "left" : null }, name));
  const body = rows.map(([first, ...cells]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, first),
      cells.map((cell) => h("td", {}, cell ?? "—")),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
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
export const bar = (value) =>
  h("span", { class: "meter", share: Math.max(0, Math.min(1, value)), "aria-hidden": "true" });
export const words = (...said) => h("span", { class: "words" }, ...said);
export const small = (...said) => h("small", {}, ...said);
export const tag = (word, kind = "") => h("span", { class: `tag ${kind}` }, word);

const known = (tell) => (value) => (value == null ? "—" : tell(value));
export const count = known((value) => value.toLocaleString("en"));
export const reward = known((value) => value.toFixed(2));
export const signed = known((value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
export const share = known((value) => (value > 0 && value < 0.01 ? "<1 %" : `${(100 * value).toFixed(0)} %`));
export const usd = known((value) => {
  const size = Math.abs(value);
  const told =
    size >= 1
      ? size.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })
      : String(Number(size.toPrecision(2)));
  return `${value < 0 ? "−" : ""}$${told}`;
});
export const ms = known((value) => (value >= 9_950 ? `${(value / 1_000).toFixed(1)} s` : `${value.toFixed(0)} ms`));
export const agent = (name) => name || "no agent fits";

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
export const range = (one) => `${reward(one.low)} to ${reward(one.high)}`;
