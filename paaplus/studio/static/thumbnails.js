// Thumbnails of pages that show hundreds: those in sight and soon to be are fetched together, many in an answer.

import { thumbnail, url } from "./common.js";

export const BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
const [FEWEST, MOST] = [4, 48]; // in one answer: few where the connection is slow, so that the first are seen soon
const SLOW_MS = 1200;
const ANSWERS = 2; // requests on their way
const known = new Map(); // addresses of what has come, by image and size
const wanted = []; // elements whose picture is asked for next
let numAsking = 0;
let most = 12;

const watcher = new IntersectionObserver((entries) => {
  for (const each of entries) {
    if (!each.isIntersecting) continue;
    watcher.unobserve(each.target);
    wanted.push(each.target);
  }
  ask();
}, { rootMargin: "200% 0px" });

const key = (image) => `${image.dataset.id}.${image.dataset.size}`;

/** Let an `img` with `data-id` and `data-size` show its thumbnail when it comes near the window. */
export function watch(image) {
  if (known.has(key(image))) fill(image);
  else watcher.observe(image);
}

function fill(image) {
  image.src = known.get(key(image)) ?? thumbnail(image.dataset.id, image.dataset.size);
  image.dataset.filled = "yes";
}

function ask() {
  while (wanted.length && numAsking < ANSWERS) {
    const { size } = wanted[0].dataset;
    const batch = wanted.filter((each) => each.dataset.size === size).slice(0, most);
    for (const each of batch) wanted.splice(wanted.indexOf(each), 1);
    numAsking += 1;
    fetchAll(batch, size).finally(() => { numAsking -= 1; ask(); });
  }
}

async function fetchAll(batch, size) {
  const ids = [...new Set(batch.map((each) => each.dataset.id))];
  const began = performance.now();
  let later = new Set();
  try {
    const answer = await fetch(url(`/thumbnails?ids=${ids.join(",")}&size=${size}`), { credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.statusText);
    const form = await answer.formData();
    later = new Set(form.getAll("later"));
    for (const id of ids) if (form.get(id) instanceof Blob) known.set(`${id}.${size}`, URL.createObjectURL(form.get(id)));
    most = performance.now() - began > SLOW_MS ? Math.max(FEWEST, most / 2) : Math.min(MOST, 2 * most);
  } catch (failure) { /* each is asked for by its own address, which the browser tries in its own time */ }
  for (const each of batch) {
    if (later.has(each.dataset.id)) wanted.push(each);
    else fill(each);
  }
}
