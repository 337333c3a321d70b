// Answers are sent in order; what could not be sent waits in the page and is sent again: the same event counts once.

import { ask } from "./common.js";

export const newId = () => `studio-${Date.now().toString(36)}-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

const AGAIN = [0, 429, 503]; // no connection, too many at once, the database does not answer

export class Sender {
  /** `offline`: the element that says that answers wait. */
  constructor(path, offline) {
    this.path = path;
    this.offline = offline;
    this.waiting = 0;
    this.last = Promise.resolve();
  }

  /** Send an answer after those before it; `path`: instead of the usual one. */
  send(body, path = this.path) {
    this.waiting += 1;
    const result = this.last.then(async () => {
      for (let wait = 500; ; wait = Math.min(8000, wait * 2)) {
        try {
          const answer = await ask(path, body);
          this.offline.hidden = true;
          return answer;
        } catch (failure) {
          if (!AGAIN.includes(failure.status)) throw failure;
          this.offline.hidden = false;
          await new Promise((resume) => setTimeout(resume, wait));
        }
      }
    }).finally(() => { this.waiting -= 1; });
    this.last = result.catch(() => {});
    return result;
  }
}
