/* The service, as the page speaks to it: with the key in a header, which no other site can make a browser send. The key
   is kept in this tab alone and goes with it. */

const KEY = "router-key";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const signIn = (key) => sessionStorage.setItem(KEY, key);
export const signOut = () => sessionStorage.removeItem(KEY);
export const signedIn = () => sessionStorage.getItem(KEY) !== null;

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return { ...more, ...(key === null ? {} : { authorization: `Bearer ${key}` }) };
}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  } catch {
    throw new Problem(0, "the service does not answer; it may be starting");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, told.detail ?? `the service answered ${answer.status}`);
}

export async function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value != null && value !== "");
  const answer = await asked(`${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`, {});
  return answer.json();
}

export async function post(path, body, more = {}) {
  const options = {
    method: "POST",
    headers: { "content-type": "application/json", ...more },
    body: JSON.stringify(body),
  };
  const answer = await asked(path, options);
  return answer.status === 204 ? null : answer.json();
}

/* Server-sent events over fetch, since an EventSource sends no key. Begins again when the connection ends, waiting
   longer each time that it fails; ends with the signal, or when the key opens it no more. */
export async function follow(path, signal, heard, state) {
  for (let wait = 500; !signal.aborted; wait = Math.min(2 * wait, 15_000)) {
    try {
      const answer = await asked(path, { signal });
      state("live");
      wait = 500;
      await events(answer.body.pipeThrough(new TextDecoderStream()).getReader(), heard);
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.status === 401 || problem.status === 403) return state("refused", problem);
      state("away");
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function events(reader, heard) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) heard(name, JSON.parse(data));
    }
  }
}
