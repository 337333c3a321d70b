// The list of people: pages by cursor, found by name while it is typed. Only the rows in sight are in the document, each of
// the same height, so that ten thousand scroll as sixty do and nothing jumps.

import { ask, element, text, url } from "./common.js";

const AROUND = 30; // rows above and below what is in sight
const NEAR = 60; // rows before the end at which the next page is asked for
const TYPING_MS = 120;
const find = (id) => document.getElementById(id);
const people = find("people");
const body = people.tBodies[0];
const more = find("more");
let rows = [...body.rows];
let following = people.dataset.following || null;
let name = find("find").defaultValue.trim(); // of the rows that came with the page
let loading = null; // what is being asked for, and for which name
let shown = "";
const gap = () => element("tr", { className: "gap", ariaHidden: "true" }, element("td"));
const [above, below] = [gap(), gap()];

const cell = (content, className = "") => element("td", { className, textContent: content });

function line(person) {
  const quality = element("td", { className: "error" });
  if (!person.error) quality.append(element("span", { className: "quiet", textContent: "–" }));
  else quality.append(element("b", { textContent: person.error[0].toFixed(1) }), " ", element("span", { className: "quiet", textContent: `(${person.error[1].toFixed(1)})` }));
  const tags = element("td", { className: "wide-only" });
  if (person.pinned) tags.append(element("span", { className: "tag", textContent: text("watch.pinned") }));
  if (person.due) tags.append(element("span", { className: "tag", textContent: text("watch.due") }));
  return element("tr", {},
    element("th", { scope: "row" }, element("a", { href: url(`/watch/people/${person.id}`), textContent: person.name, title: person.name })),
    cell(person.application, "wide-only"), cell(person.version ?? text("watch.base")), quality, cell(person.events, "number"), cell(person.pending, "number wide-only"), tags);
}

/** Put the rows in sight into the document, and ask for more near the end. */
function draw() {
  const height = body.querySelector("tr:not(.gap)")?.offsetHeight || 52;
  const from = Math.floor(-body.getBoundingClientRect().top / height);
  const inSight = Math.ceil(window.innerHeight / height);
  const [first, last] = [Math.max(0, Math.min(from, rows.length) - AROUND), Math.min(rows.length, Math.max(0, from) + inSight + AROUND)];
  if (following && !loading && from + inSight + NEAR > rows.length) load();
  people.ariaRowCount = following ? "-1" : String(rows.length + 1);
  if (shown === `${first} ${last} ${rows.length}`) return;
  shown = `${first} ${last} ${rows.length}`;
  const focused = document.activeElement;
  above.firstChild.style.height = `${first * height}px`;
  below.firstChild.style.height = `${(rows.length - last) * height}px`;
  for (let place = first; place < last; place++) rows[place].ariaRowIndex = String(place + 2);
  body.replaceChildren(...(first ? [above] : []), ...rows.slice(first, last), ...(last < rows.length ? [below] : []));
  if (focused !== document.activeElement && body.contains(focused)) focused.focus({ preventScroll: true });
}

let telling;
/** Say that more is being loaded, if it takes long. The line is no part of the page's flow, so that nothing moves. */
function tellSoon() {
  clearTimeout(telling);
  telling = setTimeout(() => { more.textContent = text("watch.loading"); more.hidden = false; }, 400);
}

function fail(failure) {
  clearTimeout(telling);
  more.hidden = false;
  more.textContent = failure.message;
}

async function load() {
  const mine = loading = { name };
  tellSoon();
  const query = new URLSearchParams({ ...(name && { name }), ...(following && { after: following }) });
  try {
    const found = await ask(`/watch/people?${query}`);
    if (loading !== mine) return; // another name was typed meanwhile
    rows.push(...found.items.map(line));
    following = found.following;
    loading = null;
    tell();
    draw();
  } catch (failure) {
    if (loading !== mine) return;
    fail(failure);
    setTimeout(() => { if (loading === mine) { loading = null; draw(); } }, 3000);
  }
}

/** What stands in the place of an empty list. */
function tell() {
  clearTimeout(telling);
  more.hidden = true;
  people.hidden = !rows.length;
  find("nobody").hidden = Boolean(rows.length);
  find("nobody").textContent = name ? text("watch.none_found", { name }) : text("watch.empty");
}

let typing;
async function search() {
  const wanted = find("find").value.trim();
  if (wanted === name) return;
  name = wanted;
  const mine = loading = { name };
  tellSoon();
  const query = new URLSearchParams(name && { name });
  window.history.replaceState(null, "", name ? `?${query}` : window.location.pathname);
  try {
    const found = await ask(`/watch/people?${query}`);
    if (loading !== mine) return;
    [rows, following, loading, shown] = [found.items.map(line), found.following, null, ""];
    tell();
    draw();
  } catch (failure) {
    if (loading !== mine) return;
    fail(failure);
    loading = null;
    name = "\0"; // asked for again with the next key
  }
}

find("find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_MS);
});
find("search").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); search(); });
let isAsked = false;
const drawSoon = () => {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => { isAsked = false; draw(); });
};
window.addEventListener("scroll", drawSoon, { passive: true });
window.addEventListener("resize", drawSoon);
draw();
search(); // for what was typed before this script was there
