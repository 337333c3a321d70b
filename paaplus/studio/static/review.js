// Review: pseudo labels one after another. Enter accepts, a moved slider corrects, S puts off, X cannot say, U undoes.

import { ask, element, getReady, isReady, say, text, url } from "./common.js";
import { newId, Sender } from "./sending.js";

const AHEAD = 3; // pictures that the browser fetches in advance
const find = (id) => document.getElementById(id);
const isSkipped = find("review").dataset.skipped === "yes";
const sender = new Sender(null, find("offline"), "/review/");

let queue = []; // reviews that come next
let current = null;
let shown = new Set(sender.kept().map((each) => each.path.split("/")[2])); // ids of reviews that were decided or are shown, so that they do not come again
let done = []; // decided reviews, which can be undone
let loading = null;

const pictureOf = (review) => url(`/review/${review.id}/picture?size=1024`);
const points = (score) => Number(score).toFixed(1);

async function load() {
  if (loading) return loading;
  loading = (async () => {
    const skip = [...queue.map((each) => each.id), ...shown].slice(-200);
    const found = await ask(`/review/queue?skipped=${isSkipped ? "yes" : "no"}&skip=${skip.join(",")}`);
    const known = new Set([...queue.map((each) => each.id), ...shown]);
    queue.push(...found.items.filter((each) => !known.has(each.id)));
    ahead();
    showPace(found.pace);
    showAgreement(found);
    return found;
  })().finally(() => { loading = null; });
  return loading;
}

function ahead() {
  for (const each of queue.slice(0, AHEAD)) new Image().src = pictureOf(each);
}

async function next() {
  let found = null;
  if (!queue.length) found = await load();
  current = queue.shift() ?? null;
  if (current) shown.add(current.id); // before the next load, so that it does not come again
  if (queue.length < AHEAD) load().catch(() => {});
  else ahead();
  if (!current) return empty(found?.pace);
  draw();
}

function draw() {
  const image = element("img", { src: pictureOf(current), width: current.width, height: current.height, alt: current.name || text("review.picture"), decoding: "async" });
  find("stage").setAttribute("aria-busy", "false");
  find("stage").replaceChildren(image);
  getReady(find("stage"), [image]);
  find("sliders").replaceChildren(...Object.entries(current.scores).map(([aspect, score]) => slider(aspect, score)));
  find("label-lead").textContent = text("review.lead");
  find("label").hidden = false;
  find("undo").disabled = !done.length;
  changed();
  find("sliders").querySelector("input").focus({ preventScroll: true });
}

/** One aspect: the label shown, how sure its tools are, and a slider that begins at it. */
function slider(aspect, score) {
  const id = `aspect-${find("sliders").childElementCount}-${aspect.replace(/\W/g, "_")}`;
  const value = current.decided?.scores[aspect] ?? score;
  const input = element("input", { type: "range", id, min: 0, max: 10, step: 0.1, value: points(value) });
  input.dataset.aspect = aspect;
  input.dataset.shown = points(score);
  const output = element("output", { htmlFor: id, textContent: points(value) });
  const confidence = current.confidences[aspect];
  const about = confidence === undefined ? text("review.label", { score: points(score) }) : text("review.label.sure", { score: points(score), sure: Math.round(100 * confidence) });
  input.addEventListener("input", changed);
  return element("div", { className: "slider" }, element("label", { htmlFor: id, textContent: aspect }), output, input, element("span", { className: "label-shown", textContent: about }));
}

const sliders = () => [...find("sliders").querySelectorAll("input")];
const corrections = () => Object.fromEntries(sliders().filter((each) => points(each.value) !== each.dataset.shown).map((each) => [each.dataset.aspect, Number(each.value)]));

function changed() {
  for (const each of sliders()) {
    const output = each.parentElement.querySelector("output");
    output.textContent = points(each.value);
    each.parentElement.classList.toggle("corrected", points(each.value) !== each.dataset.shown);
    each.setAttribute("aria-valuetext", text("review.value", { score: points(each.value), shown: each.dataset.shown }));
  }
  find("accept").textContent = text(Object.keys(corrections()).length ? "review.correct" : "review.accept");
}

function decide(verdict) {
  if (!current || !isReady(find("stage"))) return;
  const review = current;
  const scores = verdict === "correct" ? corrections() : {};
  const body = { verdict, scores, event_id: newId(), revise: Boolean(review.decided) };
  current = null;
  const earlier = review.decided;
  review.decided = { verdict, scores };
  done.push(review);
  sender.send(body, `/review/${review.id}`).then((answer) => showPace(answer.pace)).catch((failure) => {
    done = done.filter((each) => each !== review);
    review.decided = earlier;
    say(failure.message);
  });
  next().catch(failed);
}

function undo() {
  const last = done.pop();
  if (!last) return;
  if (current) queue.unshift(current);
  queue.unshift(last);
  next().catch(failed);
  say(text("review.undone"));
}

function showPace(pace) {
  const parts = [text("review.open", { number: pace.open }), text("review.done", { number: pace.done })];
  if (pace.accepted !== null) parts.push(text("review.accepted", { share: Math.round(100 * pace.accepted), number: pace.recent }));
  if (pace.seconds_each !== null) {
    parts.push(text("review.each", { seconds: pace.seconds_each.toFixed(pace.seconds_each < 10 ? 1 : 0) }));
    if (pace.open) parts.push(text("review.left", { minutes: Math.max(1, Math.round(pace.open * pace.seconds_each / 60)) }));
  }
  find("pace").replaceChildren(...parts.map((part) => element("span", { textContent: part })));
}

/** By aspect: how far the expert moved the labels, and how the expert's scores lie beside those of other experts. */
function showAgreement({ agreement, pace }) {
  find("going").hidden = !agreement.length;
  find("agreement").replaceChildren(...agreement.map((each) => {
    const lines = [text("review.moved", { points: (pace.correction[each.aspect] ?? 0).toFixed(1) })];
    const values = { images: each.num_images, experts: each.num_others, points: each.mean_difference?.toFixed(1) };
    if (each.srcc !== null) lines.push(text("review.agrees", { ...values, srcc: each.srcc.toFixed(2) }));
    else if (each.mean_difference !== null) lines.push(text("review.agrees.apart", values));
    else lines.push(text("review.agrees.few", values));
    return element("li", {}, element("strong", { textContent: each.aspect }), ...lines.map((line) => element("span", { textContent: line })));
  }));
}

function empty(pace) {
  find("label").hidden = true;
  find("stage").setAttribute("aria-busy", "false");
  const hasDone = done.length || (pace && pace.done + pace.skipped + pace.cannot_say > 0);
  const which = hasDone ? "review.finished" : "review.empty";
  const buttons = [];
  if (pace?.skipped && !isSkipped) buttons.push(element("a", { className: "button primary", href: url("/review?skipped=yes"), textContent: text("review.see_skipped", { number: pace.skipped }) }));
  if (isSkipped) buttons.push(element("a", { className: "button primary", href: url("/review"), textContent: text("review.see_open") }));
  if (done.length) {
    const back = element("button", { textContent: text("review.undo") });
    back.addEventListener("click", undo);
    buttons.push(back);
  }
  find("stage").replaceChildren(element("div", { className: "empty" }, element("h2", { textContent: text(`${which}.title`) }), element("p", { textContent: text(`${which}.text`) }), element("div", { className: "row wrap centre" }, ...buttons)));
}

function failed(failure) {
  find("stage").setAttribute("aria-busy", "false");
  if (failure.status !== 0 || current) return say(failure.message);
  const again = element("button", { className: "primary", textContent: text("error.retry") });
  again.addEventListener("click", () => next().catch(failed));
  find("stage").replaceChildren(element("div", { className: "empty" }, element("p", { textContent: failure.message }), again));
}

find("label").addEventListener("submit", (event) => {
  event.preventDefault();
  decide(Object.keys(corrections()).length ? "correct" : "accept");
});
find("skip").addEventListener("click", () => decide("skip"));
find("cannot").addEventListener("click", () => decide("cannot_say"));
find("undo").addEventListener("click", undo);

document.addEventListener("keydown", (event) => {
  if (event.repeat && !event.key.startsWith("Arrow")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "u") return undo();
  if (!current) return;
  const onSlider = event.target.matches?.("#sliders input");
  if (key === "s") decide("skip");
  else if (key === "x") decide("cannot_say");
  else if (key === "enter" && (onSlider || event.target === document.body)) {
    event.preventDefault();
    find("label").requestSubmit();
  } else if (/^[0-9]$/.test(key)) {
    const chosen = onSlider ? event.target : sliders()[0];
    chosen.value = key;
    changed();
  }
});
window.addEventListener("beforeunload", (event) => { if (sender.isLosing) event.preventDefault(); });

sender.resume(failed).then((number) => { if (number) say(text("review.resent", { number })); });
next().catch(failed);
