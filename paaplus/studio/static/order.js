// My order: a wall of photos that moves when the order or a filter changes.

import { ask, element, moveFrom, picture, places, say, text, thumbnail } from "./common.js";
import { BLANK, watch } from "./thumbnails.js";

const find = (id) => document.getElementById(id);
const gallery = find("gallery");
const ENOUGH = 10; // answers after which the first training comes
const chosen = { by: "rank", show: "all", stars: 0, since: "" };
const tiles = new Map();
let items = [];
let looked = -1;
let numPending = 0;
let bursts = null; // of each photo that is in one: its number, and whether it is the best

function tile(photo) {
  const image = element("img", { src: BLANK, width: photo.width, height: photo.height, alt: photo.name, decoding: "async" });
  Object.assign(image.dataset, { id: photo.id, size: 512 });
  watch(image);
  const place = element("span", { className: "place" });
  const button = element("button", { "aria-label": photo.name || text("rate.photo") }, image);
  const made = element("li", { className: "tile" }, button, place);
  const ratio = photo.width / photo.height;
  made.style.flexGrow = String(ratio);
  made.style.flexBasis = `calc(var(--tile, 210px) * ${ratio})`;
  if (photo.stars) made.append(element("span", { className: "given", textContent: "★".repeat(photo.stars), title: text("order.you", { stars: photo.stars }) }));
  button.addEventListener("click", () => look(visible().indexOf(photo)));
  return made;
}

function visible() {
  const kept = items.filter((each) =>
    (chosen.show === "all" || (chosen.show === "unrated" && each.stars === null) || (chosen.show === "rated" && each.stars !== null) || (chosen.show === "liked" && each.liked)) &&
    (burstOf(each)?.best ?? true) && (!chosen.stars || (each.stars ?? 0) >= chosen.stars) && (!chosen.since || each.date >= chosen.since));
  return kept.sort((a, b) => a[chosen.by] - b[chosen.by]);
}

function draw() {
  const kept = visible();
  const were = places(gallery.children);
  gallery.replaceChildren(...kept.map((each) => tiles.get(each.id)));
  for (const each of kept) label(each);
  moveFrom(were, kept.map((each) => tiles.get(each.id)), "moves");
  find("gallery-state").hidden = kept.length > 0 || (!items.length && numPending > 0); // the note says what is pending
  find("gallery-state").textContent = text(items.length ? "order.empty" : "order.no_photos");
}

function label(photo) {
  const made = tiles.get(photo.id);
  made.querySelector(".place").textContent = photo[chosen.by];
  made.querySelector(".move")?.remove();
  made.querySelector(".burst")?.remove();
  const burst = burstOf(photo);
  if (burst) made.append(element("span", { className: "burst", textContent: text("order.burst", { number: sizeOfBurst(burst.burst) }) }));
  const moved = photo.generic_rank - photo.rank;
  if (chosen.by !== "rank" || !moved) return;
  const name = moved > 0 ? "up" : "down";
  made.append(element("span", { className: `move ${name}`, textContent: `${moved > 0 ? "↑" : "↓"} ${Math.abs(moved)}`, title: text(`order.${name}`, { number: Math.abs(moved) }) }));
}

function look(place) {
  const kept = visible();
  if (place < 0 || place >= kept.length) return;
  looked = place;
  const photo = kept[place];
  find("viewer-image").src = thumbnail(photo.id, 1024);
  find("viewer-image").alt = photo.name;
  const moved = photo.generic_rank - photo.rank;
  const parts = [`${photo.rank}. ${photo.name}`, text("order.score", { score: photo.score.toFixed(2), generic: photo.generic.toFixed(2) }), text(moved > 0 ? "order.up" : moved < 0 ? "order.down" : "order.same", { number: Math.abs(moved) })];
  if (photo.stars) parts.push(text("order.you", { stars: photo.stars }));
  find("viewer-text").textContent = parts.join(" · ");
  if (!find("viewer").open) find("viewer").showModal();
}

function lead(version) {
  if (version !== null) return text("order.lead", { version });
  const rated = items.filter((photo) => photo.stars).length;
  return text(rated < ENOUGH ? "order.lead.none" : "order.lead.unsure", { rated });
}

async function load() {
  const found = await ask("/order/ranking");
  if (found.items.length !== items.length) { bursts = null; find("bursts").checked = false; }
  items = found.items;
  numPending = found.num_pending;
  tiles.clear();
  for (const each of items) tiles.set(each.id, tile(each));
  find("lead").textContent = lead(found.version);
  find("note").hidden = !found.num_pending;
  find("note").textContent = text("order.pending", { number: found.num_pending });
  gallery.setAttribute("aria-busy", "false");
  draw();
  if (found.num_pending) setTimeout(() => load().catch(() => {}), 4000);
}

// --- The best of each burst: photos that follow each other and look alike count as one.

find("bursts").addEventListener("change", async (event) => {
  if (event.target.checked && !bursts) {
    event.target.disabled = true;
    try {
      bursts = await ask("/order/bursts");
    } catch (failure) {
      event.target.checked = false;
      say(failure.message);
    }
    event.target.disabled = false;
  }
  draw();
});

const burstOf = (photo) => (find("bursts").checked ? bursts?.[photo.id] : undefined);
const sizeOfBurst = (number) => Object.values(bursts).filter((each) => each.burst === number).length;

// --- What changed

let since = "version";
async function showChanges() {
  if (!find("changes").open) return;
  const body = find("changes-body");
  const asked = since;
  body.setAttribute("aria-busy", "true");
  const found = await ask(`/order/changes?since=${since}`).catch((failure) => ({ moved: [], because: [], message: failure.message }));
  if (asked !== since) return;
  body.setAttribute("aria-busy", "false");
  const list = (photos, line) => element("ul", { className: "changes" }, ...photos.map((each) => element("li", {}, picture(each, 256, { title: each.name }), line(each))));
  if (!found.moved.length) return body.replaceChildren(element("p", { textContent: found.message ?? text(found.version === null ? "order.changes.none" : "order.changes.same") }));
  const then = found.before === null || found.before === undefined ? text("order.changes.base") : text("order.changes.number", { version: found.before });
  body.replaceChildren(
    element("p", { textContent: text("order.changes.moved", { version: found.version, before: then }) }),
    list(found.moved, (each) => element("span", {}, `${each.before.toFixed(1)} → `, element("b", { textContent: each.after.toFixed(1) }), ...(each.by ? [cause(each.by)] : []))));
  if (!found.because.length) return;
  body.append(
    element("p", { textContent: text("order.changes.because", { number: found.num_because }) }),
    list(found.because, (each) => element("span", {}, "★".repeat(each.stars), " ", element("b", { textContent: `±${each.points.toFixed(2)}` }))),
    element("p", { className: "note", textContent: text(found.is_exact ? "order.changes.exact" : "order.changes.about") }));
}
/** The rating that moved a score most: its photo, its stars, and by how many points. */
function cause(by) {
  const points = `${by.points > 0 ? "+" : "−"}${Math.abs(by.points).toFixed(2)}`;
  const told = text("order.changes.by", { name: by.name, stars: by.stars, points });
  return element("span", { className: "cause", title: told }, picture(by, 128, { alt: told }), "★".repeat(by.stars), " ", element("b", { textContent: points }));
}

find("changes").addEventListener("toggle", showChanges);
for (const button of document.querySelectorAll("[data-since]")) {
  button.addEventListener("click", () => {
    since = button.dataset.since;
    for (const each of button.parentElement.children) each.setAttribute("aria-pressed", String(each === button));
    showChanges();
  });
}
for (const button of document.querySelectorAll("[data-by], [data-show]")) {
  button.addEventListener("click", () => {
    for (const each of button.parentElement.children) each.setAttribute("aria-pressed", String(each === button));
    if (button.dataset.by) chosen.by = button.dataset.by;
    else chosen.show = button.dataset.show;
    draw();
  });
}
find("stars").addEventListener("change", (event) => { chosen.stars = Number(event.target.value); draw(); });
find("since").addEventListener("change", (event) => { chosen.since = event.target.value; draw(); });
find("viewer-close").addEventListener("click", () => find("viewer").close());
find("viewer").addEventListener("click", (event) => { if (event.target === find("viewer")) find("viewer").close(); });
find("viewer").addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") look(looked + 1);
  if (event.key === "ArrowLeft") look(looked - 1);
});
load().catch((failure) => { find("gallery-state").textContent = failure.message; });
