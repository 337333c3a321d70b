// Answers are sent in order. Each is kept in the browser, for its person alone, until the server has it: when the session
// ends or the server is away it is sent later, and the same event counts once.

import { ask, meta } from "./common.js";

export const newId = () => `studio-${Date.now().toString(36)}-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

const AGAIN = [0, 429, 503]; // no connection, too many at once, the database does not answer
const SIGNED_OUT = 401;
const KEPT_MS = 7 * 86_400_000;
const ALL = "studio.unsent.";
const mine = `${ALL}${meta("person")}.`;

function entries(prefix) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).map((key) => [key, JSON.parse(localStorage.getItem(key))]);
  } catch (failure) {
    return []; // the browser keeps nothing
  }
}

export class Sender {
  /** `path`: where answers go; `offline`: the element that says that answers wait. */
  constructor(path, offline, within = path) {
    this.path = path;
    this.offline = offline;
    this.within = within;
    this.waiting = 0;
    this.isKeeping = true;
    this.last = Promise.resolve();
    for (const [key, each] of entries(ALL)) if (!(each?.at > Date.now() - KEPT_MS)) localStorage.removeItem(key);
  }

  /** Answers of this person that an earlier page could not send, in their order. */
  kept() {
    return entries(mine).filter(([, each]) => each.path.startsWith(this.within)).sort(([, a], [, b]) => a.at - b.at || a.place - b.place).map(([, each]) => each);
  }

  /** Send what an earlier page could not; resolves to how many there were. */
  async resume(refused = () => {}) {
    const found = this.kept();
    for (const each of found) this.send(each.body, each.path).catch(refused);
    await this.last;
    return found.length;
  }

  /** Send an answer after those before it; `path`: instead of the usual one. */
  send(body, path = this.path) {
    this.waiting += 1;
    const key = mine + body.event_id;
    this.keep(key, { path, body, at: Date.now(), place: this.waiting });
    const result = this.last.then(async () => {
      for (let wait = 500; ; wait = Math.min(8000, wait * 2)) {
        try {
          const answer = await ask(path, body);
          this.offline.hidden = true;
          localStorage.removeItem(key);
          return answer;
        } catch (failure) {
          if (failure.status === SIGNED_OUT) throw failure; // kept until the person is back
          if (!AGAIN.includes(failure.status)) {
            localStorage.removeItem(key);
            throw failure;
          }
          this.offline.hidden = false;
          await new Promise((resume) => setTimeout(resume, wait));
        }
      }
    }).finally(() => { this.waiting -= 1; });
    this.last = result.catch(() => {});
    return result;
  }

  keep(key, entry) {
    try {
      if (!localStorage.getItem(key)) localStorage.setItem(key, JSON.stringify(entry));
    } catch (failure) {
      this.isKeeping = false;
    }
  }

  /** Whether leaving the page would lose answers. */
  get isLosing() {
    return this.waiting > 0 && !this.isKeeping;
  }
}



