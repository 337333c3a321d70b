// Photos: a folder that is dropped or chosen is sent file by file, three at a time.

import { ask, element } from "./common.js";
import { watch } from "./thumbnails.js";

const PICTURE = /\.(jpe?g|png|webp|heic|heif|tiff?|avif)$/i;
const AT_ONCE = 3;
const find = (id) => document.getElementById(id);
const drop = find("drop");
const filled = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

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

async function upload(files) {
  const wanted = files.filter(([file, name]) => PICTURE.test(name) && !name.split("/").pop().startsWith("."));
  find("uploading").hidden = false;
  if (!wanted.length) { find("upload-text").textContent = drop.dataset.none; return; }
  const count = { added: 0, known: 0, failed: 0 };
  let done = 0;
  const bar = find("upload-bar");
  bar.max = wanted.length;
  const queue = [...wanted];
  async function work() {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [file, name] = next;
      const form = new FormData();
      form.append("file", file, file.name);
      form.append("name", name);
      try {
        const answer = await ask("/photos", form);
        count[answer.created ? "added" : "known"] += 1;
      } catch (failure) {
        count.failed += 1;
        find("refused").append(element("li", { textContent: `${name}: ${failure.message}` }));
      }
      done += 1;
      bar.value = done;
      find("upload-text").textContent = filled(drop.dataset.progress, { done, total: wanted.length });
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  find("upload-text").textContent = filled(drop.dataset.summary, count);
  find("uploading").dataset.done = "yes";
}

for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => { event.preventDefault(); upload(await filesOf([...event.dataTransfer.items])); });
for (const id of ["folder", "files"]) {
  find(id).addEventListener("change", (event) => upload([...event.target.files].map((file) => [file, file.webkitRelativePath || file.name])));
}
for (const image of document.querySelectorAll(".wall img")) watch(image);
