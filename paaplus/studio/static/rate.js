// Rate: photos one by one, or pairs. Answers are sent in order; what could not be sent waits and is sent again.

import { ask, element, getReady, icon, isReady, moveFrom, picture, places, say, text, thumbnail, url } from "./common.js";
import { newId, Sender } from "./sending.js";

const STAR = "M12 2.8l2.9 5.9 6.4.9-4.7 4.5 1.1 6.4L12 17.5 6.3 20.5l1.1-6.4L2.7 9.6l6.4-.9z";
const HEART = "M12 20.5C6 16.3 2.8 13 2.8 8.9 2.8 6 5 4 7.5 4c1.8 0 3.5 1 4.5 2.7C13 5 14.7 4 16.5 4 19 4 21.2 6 21.2 8.9c0 4.1-3.2 7.4-9.2 11.6z";
const POLL_MS = 1500;
const AHEAD = 3; // photos whose files the browser fetches in advance

const root = document.getElementById("rate");
const isPairs = root.dataset.mode === "pairs";
const stage = document.getElementById("stage");
const answers = document.getElementById("answers");
const why = document.getElementById("why");
const reveal = document.getElementById("reveal");
const find = (id) => document.getElementById(id);

const settings = { scale: localStorage.getItem("studio.scale") ?? "5", hide: localStorage.getItem("studio.hide") !== "no" };
let queue = []; // photos that come next
let current = null; // what is asked about: a photo, or {first, second}
let shown = new Set(); // ids of photos that were asked about, so that they do not come again
let asked = []; // pairs
let done = []; // event ids that can be undone, with what they were about
let state = null;
let before = null; // the order of photos that are not rated, as the active version has it
let loading = null;
const sender = new Sender("/rate/answers", find("offline"), "/rate/");
for (const { body } of sender.kept()) if (body.image) shown.add(body.image); // answered already
const send = (body) => sender.send(body).then((answer) => { learned(answer); return answer; });

// --- Questions

async function load() {
  if (loading) return loading;
  loading = (async () => {
    const skip = [...queue.map((each) => each.id), ...(current ? [current.id] : []), ...shown].slice(-200);
    const found = await ask(`/rate/photos?skip=${skip.join(",")}`);
    const known = new Set([...skip]);
    queue.push(...found.items.filter((each) => !known.has(each.id)));
    for (const each of queue.slice(0, AHEAD)) new Image().src = thumbnail(each.id, 1024);
    return found;
  })().finally(() => { loading = null; });
  return loading;
}

async function next() {
  if (isPairs) return nextPair();
  let found = null;
  if (!queue.length) found = await load();
  current = queue.shift() ?? null;
  if (queue.length < AHEAD) load().catch(() => {});
  else for (const each of queue.slice(0, AHEAD)) new Image().src = thumbnail(each.id, 1024);
  if (!current) return empty(found?.has_photos ?? true);
  shown.add(current.id);
  show([picture(current, 1024)], false);
  why.textContent = reason(current);
  drawPhotoAnswers();
  if (!settings.hide) showScore(current);
}

let pairAhead = null;
async function nextPair() {
  const found = await (pairAhead ?? fetchPair());
  pairAhead = null;
  current = found.pair;
  if (!current) return empty(found.has_photos);
  asked.push(`${current.first.id}.${current.second.id}`);
  const side = (photo, preference, label, key) => {
    const button = element("button", { className: "pair", "aria-label": `${label}: ${photo.name}` }, picture(photo, 1024, { alt: "" }), element("kbd", { textContent: key }));
    button.addEventListener("click", () => compare(preference));
    return button;
  };
  show([side(current.first, "first", text("rate.prefer_first"), "←"), side(current.second, "second", text("rate.prefer_second"), "→")], true);
  why.textContent = `${text("rate.which")} ${text("rate.why.pair", { bits: (current.nats / Math.LN2).toFixed(2) })}`;
  const plain = (key, preference) => {
    const button = element("button", { className: "plain", textContent: text(key) });
    button.addEventListener("click", () => compare(preference));
    return button;
  };
  answers.replaceChildren(plain("rate.tie", "tie"), plain("rate.cannot_say", "cannot_say"), undoButton());
}

async function fetchPair() {
  const found = await ask(`/rate/pair?asked=${asked.slice(-100).join(",")}`);
  if (found.pair) for (const each of [found.pair.first, found.pair.second]) new Image().src = thumbnail(each.id, 1024);
  return found;
}

function reason(photo) {
  if (photo.doubt === null) return text(state?.version === null && !done.length ? "rate.why.first" : "rate.why.new");
  return text("rate.why.doubt", { points: scaled(photo.doubt, true) });
}

function show(elements, two) {
  stage.setAttribute("aria-busy", "false");
  stage.classList.toggle("two", two);
  stage.replaceChildren(...elements);
  getReady(stage, [...stage.querySelectorAll("img")]);
}

function empty(hasPhotos) {
  const which = hasPhotos ? "rate.done" : "rate.empty";
  const buttons = hasPhotos
    ? [element("a", { className: "button primary", href: url("/order"), textContent: text("rate.done.order") }), element("a", { className: "button", href: url("/rate?by=pairs"), textContent: text("rate.done.pairs") })]
    : [element("a", { className: "button primary", href: url("/photos"), textContent: text("rate.empty.go") })];
  show([element("div", { className: "empty" }, element("h2", { textContent: text(`${which}.title`) }), element("p", { textContent: text(`${which}.text`) }), element("div", { className: "row wrap centre" }, ...buttons))], false);
  why.textContent = "";
  answers.replaceChildren(...(done.length ? [undoButton()] : []));
}

// --- Answers

function drawPhotoAnswers() {
  const isTen = settings.scale === "10";
  const group = element("div", { className: `stars${isTen ? " ten" : ""}`, role: "group" });
  const values = isTen ? Array.from({ length: 11 }, (_, i) => i) : [1, 2, 3, 4, 5];
  for (const value of values) {
    const label = text("rate.stars", { value, most: isTen ? 10 : 5 });
    const button = element("button", { className: "rate-value", "aria-label": label, title: label }, isTen ? String(value) : icon(STAR));
    button.addEventListener("click", () => rate(value));
    if (!isTen) {
      button.addEventListener("mouseenter", () => [...group.children].forEach((each, i) => each.classList.toggle("on", i < value)));
      button.addEventListener("mouseleave", () => [...group.children].forEach((each) => each.classList.remove("on")));
    }
    group.append(button);
  }
  const like = element("button", { className: "like", "aria-pressed": String(Boolean(current.liked)), "aria-label": text("rate.like"), title: text("rate.like") }, icon(HEART));
  like.addEventListener("click", toggleLike);
  const skip = element("button", { className: "plain", textContent: text("rate.skip") });
  skip.addEventListener("click", () => next().catch(failed));
  answers.replaceChildren(undoButton(), group, like, skip);
}

function undoButton() {
  const button = element("button", { className: "plain", textContent: text("rate.undo"), disabled: false });
  button.addEventListener("click", undo);
  return button;
}

function rate(value) {
  if (!current || isPairs || !isReady(stage)) return;
  const [photo, isTen] = [current, settings.scale === "10"];
  const event = { kind: "rating", event_id: newId(), image: photo.id, value, min: isTen ? 0 : 1, max: isTen ? 10 : 5 };
  current = null;
  done.push({ id: event.event_id, photo });
  send(event).then((answer) => {
    const mine = isTen ? String(value) : "★".repeat(value) + "☆".repeat(5 - value);
    const isKnown = answer.score_before !== null && answer.score_before !== undefined;
    const words = isKnown ? text("rate.reveal", { mine, score: scaled(answer.score_before) }) : text("rate.reveal.unknown", { mine });
    reveal.replaceChildren(picture(photo, 128, { alt: "" }), words);
  }).catch((failure) => { done = done.filter((each) => each.id !== event.event_id); failed(failure); });
  next().catch(failed);
}

function compare(preference) {
  if (!current || !isReady(stage)) return;
  const event = { kind: "comparison", event_id: newId(), image: current.first.id, other_image: current.second.id, preference };
  current = null;
  done.push({ id: event.event_id });
  const sent = send(event);
  pairAhead = sent.then(fetchPair, fetchPair); // the next question depends on this answer
  sent.catch(failed);
  next().catch(failed);
}

function toggleLike() {
  if (!current || isPairs) return;
  const photo = current;
  photo.liked = !photo.liked;
  answers.querySelector(".like")?.setAttribute("aria-pressed", String(photo.liked));
  const event = { kind: "binary", event_id: newId(), image: photo.id, liked: true };
  if (photo.liked) {
    photo.likedBy = event.event_id;
    send(event).then(() => say(text("rate.liked"))).catch(failed);
  } else {
    send({ kind: "retraction", event_id: newId(), retracts: photo.likedBy }).catch(failed);
  }
}

function undo() {
  const last = done.pop();
  if (!last) return say(text("rate.nothing_to_undo"));
  send({ kind: "retraction", event_id: newId(), retracts: last.id }).then(() => say(text("rate.undone"))).catch(failed);
  reveal.textContent = "\u00a0";
  if (last.photo) {
    if (current) queue.unshift(current);
    queue.unshift(last.photo);
    next().catch(failed);
  }
}

function failed(failure) {
  say(failure.message);
  if (failure.status === 0) setTimeout(() => { if (!current) next().catch(failed); }, 3000);
}

/** A score of 0 to 10 on the person's scale; a difference of scores has no offset. */
function scaled(score, isDifference = false) {
  if (settings.scale === "10") return score.toFixed(1);
  return ((isDifference ? 0 : 1) + 0.4 * score).toFixed(1);
}

async function showScore(photo) {
  const ranking = await ask("/order/ranking").catch(() => null);
  const found = ranking?.items.find((each) => each.id === photo.id);
  if (found && current?.id === photo.id) reveal.textContent = text("rate.judge_says", { score: scaled(found.score) });
}

// --- Learning

function learned(found) {
  const isFirst = state === null;
  const [old, lastRun] = [state?.version, state?.last_run?.id];
  state = found;
  const share = Math.min(1, found.pending / found.every);
  find("ring").setAttribute("stroke-dasharray", `${100 * share} 100`);
  const isBusy = found.job === "running" || (found.job === "queued" && !found.worker_away);
  find("learning").classList.toggle("busy", isBusy);
  find("away").hidden = !found.worker_away;
  const busy = found.job === "running" ? "rate.training" : "rate.waiting";
  find("learning-text").textContent = (isBusy || found.pending >= found.every) && !found.worker_away ? text(busy) : text("rate.progress", { done: Math.min(found.pending, found.every), every: found.every });
  if (isFirst) return;
  if (found.version !== old && found.version !== null) celebrate(found);
  else if (found.last_run && found.last_run.id !== lastRun && found.last_run.outcome === "kept") say(text(found.pinned ? "rate.pinned" : "rate.kept"));
}

/** What the server pushes. Where a stream cannot be had, the page asks now and then instead. */
function listen() {
  if (!window.EventSource) return poll();
  const source = new EventSource(url("/news"));
  source.addEventListener("state", (event) => {
    const found = JSON.parse(event.data);
    if (!sender.waiting && found.sequence >= (state?.sequence ?? 0)) learned(found);
  });
  source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) poll(); });
}

async function poll() {
  try {
    if (!sender.waiting) learned(await ask("/state"));
  } catch (failure) { /* the next poll tries again */ }
  setTimeout(poll, state && (state.job || state.pending >= state.every) ? POLL_MS : 3 * POLL_MS);
}

const unrated = (ranking) => ranking.items.filter((each) => each.stars === null);

/** Show how the photos that are not rated have moved: first in the old order, then each goes to its new place. */
async function celebrate(found) {
  const ranking = await ask("/order/ranking").catch(() => null);
  if (!ranking) return;
  const now = unrated(ranking);
  const old = before ?? [...now].sort((a, b) => a.generic_rank - b.generic_rank).map((each) => each.id);
  before = now.map((each) => each.id);
  const isNow = new Set(before);
  const top = now.slice(0, window.innerWidth < 640 ? 9 : 12);
  if (!top.length || find("learned").open) return;
  const oldPlace = new Map(old.filter((id) => isNow.has(id)).map((id, i) => [id, i]));
  const list = find("learned-list");
  const tiles = new Map(top.map((photo) => [photo.id, element("li", {}, picture(photo, 256))]));
  const first = [...top].sort((a, b) => (oldPlace.get(a.id) ?? 1e9) - (oldPlace.get(b.id) ?? 1e9));
  list.replaceChildren(...first.map((photo) => tiles.get(photo.id)));
  find("learned-text").textContent = text("rate.learned.text", { version: found.version, ratings: found.num_ratings });
  queue = []; // what teaches most has changed
  if (!isPairs) load().catch(() => {});
  find("learned").showModal();
  setTimeout(() => {
    const were = places(tiles.values());
    list.replaceChildren(...top.map((photo) => tiles.get(photo.id)));
    top.forEach((photo, place) => {
      const moved = (oldPlace.get(photo.id) ?? place) - place;
      if (moved) tiles.get(photo.id).append(element("span", { className: `move ${moved > 0 ? "up" : "down"}`, textContent: `${moved > 0 ? "↑" : "↓"} ${Math.abs(moved)}` }));
    });
    moveFrom(were, tiles.values(), "moves");
    list.dataset.moved = "yes";
  }, 900);
}

find("learned-on").addEventListener("click", () => find("learned").close());

// --- Keys and settings

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea") || find("learned").open) return;
  const key = event.key.toLowerCase();
  if (key === "u" || key === "z") return undo();
  if (isPairs) {
    const preference = { arrowleft: "first", arrowright: "second", arrowup: "tie", arrowdown: "cannot_say" }[key];
    if (preference) { event.preventDefault(); compare(preference); }
    return;
  }
  if (key === "l") toggleLike();
  else if (key === "s") next().catch(failed);
  else if (settings.scale === "10" && (key === "+" || key === "=")) rate(10);
  else if (/^[0-9]$/.test(key) && (settings.scale === "10" || (key >= "1" && key <= "5"))) rate(Number(key));
});

function useSettings() {
  localStorage.setItem("studio.scale", settings.scale);
  localStorage.setItem("studio.hide", settings.hide ? "yes" : "no");
  find("keys").textContent = text(isPairs ? "rate.keys.pairs" : settings.scale === "10" ? "rate.keys.ten" : "rate.keys.stars");
  if (current && !isPairs) { drawPhotoAnswers(); why.textContent = reason(current); }
}
for (const radio of document.querySelectorAll('input[name="scale"]')) {
  radio.checked = radio.value === settings.scale;
  radio.addEventListener("change", () => { settings.scale = radio.value; useSettings(); });
}
find("hide").checked = settings.hide;
find("hide").addEventListener("change", () => { settings.hide = find("hide").checked; useSettings(); });
window.addEventListener("beforeunload", (event) => { if (sender.isLosing) event.preventDefault(); });

useSettings();
sender.resume(failed).then((number) => {
  if (!number) return;
  say(text("rate.resent", { number }));
  ask("/state").then(learned).catch(() => {});
});
next().catch(failed);
ask("/state").then(learned).catch(() => {});
ask("/order/ranking").then((ranking) => { before = unrated(ranking).map((each) => each.id); }).catch(() => {});
listen();
