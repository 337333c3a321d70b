// Photos: a folder that is dropped or chosen is sent file by file, three at a time.

import { ask, element, text } from "./common.js";
import { watch } from "./thumbnails.js";

const PICTURE = /\.(jpe?g|png|webp|heic|heif|tiff?|avif)$/i;
const AT_ONCE = 3;
const find = (id) => document.getElementById(id);
const drop = find("drop");

/** All files of what was dropped, with their paths in the folder. */
async function filesOf(items) {
  const found = [];
  async function walk(entry, path) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push([file, path + file.name]);
    } else {
      const reader = entry.createReader();
      for (;;) {
        const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!entries.length) break;
        for (const each of entries) await walk(each, `${path}${entry.name}/`);
      }
    }
  }
  for (const entry of items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean)) await walk(entry, "");
  return found;
}

const AGAIN = [0, 429, 503]; // no connection, too many at once, the database does not answer
const TRIES = 6;
const count = { added: 0, known: 0, failed: 0 };
let left = []; // what could not be sent

const tell = (key, values = {}) => { find("upload-text").textContent = text(key, values); };

/** Send a file; where the connection breaks, again after a while. Throws when it is of no use to go on. */
async function send([file, name]) {
  for (let tries = 1, wait = 1000; ; tries += 1, wait *= 2) {
    const form = new FormData();
    form.append("file", file, file.name);
    form.append("name", name);
    try {
      return await ask("/photos", form);
    } catch (failure) {
      if (!AGAIN.includes(failure.status) || tries === TRIES) throw failure;
      tell("photos.waiting", { message: failure.message });
      await new Promise((resume) => setTimeout(resume, wait));
    }
  }
}

async function upload(files) {
  const wanted = files.filter(([file, name]) => PICTURE.test(name) && !name.split("/").pop().startsWith("."));
  find("uploading").hidden = false;
  find("uploading").dataset.done = "no";
  find("go-on").hidden = true;
  if (!wanted.length) return tell("photos.none_found");
  left = [];
  let done = 0;
  const bar = find("upload-bar");
  bar.max = wanted.length;
  bar.value = 0;
  tell("photos.progress", { done, total: wanted.length });
  const queue = [...wanted];
  async function work() {
    for (let next = queue.shift(); next; next = queue.shift()) {
      try {
        const answer = await send(next);
        count[answer.created ? "added" : "known"] += 1;
      } catch (failure) {
        if (AGAIN.includes(failure.status)) {
          left.push(next, ...queue.splice(0));
          return;
        }
        count.failed += 1;
        find("refused").append(element("li", { textContent: `${next[1]}: ${failure.message}` }));
      }
      done += 1;
      bar.value = done;
      tell("photos.progress", { done, total: wanted.length });
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (left.length) tell("photos.broken", { ...count, left: left.length });
  else tell("photos.summary", count);
  find("go-on").hidden = !left.length;
  find("uploading").dataset.done = left.length ? "broken" : "yes";
}
find("go-on").addEventListener("click", () => upload(left));
window.addEventListener("online", () => { if (left.length && find("uploading").dataset.done === "broken") upload(left); });
window.addEventListener("beforeunload", (event) => { if (find("uploading").dataset.done === "no" || left.length) event.preventDefault(); });

for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => { event.preventDefault(); upload(await filesOf([...event.dataTransfer.items])); });
for (const id of ["folder", "files"]) {
  find(id).addEventListener("change", (event) => upload([...event.target.files].map((file) => [file, file.webkitRelativePath || file.name])));
}
for (const image of document.querySelectorAll(".wall img")) watch(image);
